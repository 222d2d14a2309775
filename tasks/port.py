"""The port through which a task reaches a compute process. Knows the shape of the conversation, not who answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose lines a log holds: the run, and the names of its artifacts."""

    run: str
    artifact: str


class Stop(StrEnum):
    """Why an order is to end before it is done."""

    CANCELLED = "cancelled"
    LEASE_LOST = "lease lost"
    DRAIN = "drain"


class ComputeError(Exception):
    """An order failed. `error_class` is a value of nonet.runs.attempt.ErrorClass."""

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class


class StoppedError(Exception):
    """An order was stopped; `stop` says why. A drained training has written its checkpoint."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.value)
        self.stop = stop


class Compute(Protocol):
    """Executes one order at a time in a compute process."""

    def execute(
        self,
        order: Mapping[str, Any],
        *,
        stack: str,
        log: Path,
        mark: Mark,
        on_event: Callable[[Event], None],
        poll: Callable[[], Stop | None],
    ) -> Mapping[str, Any]:
        """Run `order` with the Python of `stack`; returns the result of its last event.

        What it says goes to `log`, each line with `mark`. `poll` is asked about once a second whether to stop.
        Raises ComputeError or StoppedError.
        """
        ...

    def draining(self) -> bool:
        """Whether this worker was asked to stop."""
        ...
