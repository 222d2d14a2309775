"""What an order tells while it runs: progress, not too often. Knows events, not work."""

from __future__ import annotations

import time
from typing import Any

from nonet.compute.channel import Channel

EVERY = 0.5
"""Seconds between two progress events of one phase."""


class DrainedError(Exception):
    """The order was asked to stop and stops after `step` steps or prompts."""

    def __init__(self, step: int) -> None:
        super().__init__(f"drained after {step}")
        self.step = step


class Telling:
    """The events of one order."""

    def __init__(self, channel: Channel, order: str) -> None:
        self._channel = channel
        self._order = order
        self._phase = ""
        self._told = 0.0

    def event(self, event: str, **fields: Any) -> None:
        """Send an event of this order."""
        self._channel.emit(event, self._order, **fields)

    def progress(self, phase: str, *, last: bool = False, **fields: Any) -> None:
        """Send progress: the first and the `last` of a phase always, others every half second at most."""
        now = time.monotonic()
        if phase != self._phase or last or now - self._told >= EVERY:
            self._phase, self._told = phase, now
            self.event("progress", phase=phase, **fields)

    def stop(self) -> bool:
        """Whether the order was asked to stop."""
        return self._channel.draining(self._order)

    def stop_here(self, step: int) -> None:
        """Raise DrainedError where the order was asked to stop."""
        if self.stop():
            raise DrainedError(step)
