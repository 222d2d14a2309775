"""Pace: how fast the counts in progress events grow, over the last half minute of a phase. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

WINDOW_SECONDS = 30.0
_RATES = {"tokens": "tokens_per_second", "questions": "questions_per_second"}
"""Counts that grow from the beginning of a phase, and what their growth in a second is called."""


class Pace:
    """The events of one order, of which the last WINDOW_SECONDS are remembered."""

    def __init__(self) -> None:
        self._phase: object = None
        self._seen: deque[tuple[float, Mapping[str, Any]]] = deque()

    def rates(self, event: Mapping[str, Any], now: float) -> dict[str, float]:
        """What grows in `event`, per second; `now` is on a monotonic clock. Empty until a second event came."""
        if event.get("phase") != self._phase:
            self._phase = event.get("phase")
            self._seen.clear()
        self._seen.append((now, event))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_SECONDS:
            self._seen.popleft()
        begun, first = self._seen[0]
        if now <= begun:
            return {}
        counted = {count: rate for count, rate in _RATES.items() if _counts(first, count) and _counts(event, count)}
        return {rate: round((event[count] - first[count]) / (now - begun), 2) for count, rate in counted.items()}


def _counts(event: Mapping[str, Any], name: str) -> bool:
    return isinstance(event.get(name), int)
