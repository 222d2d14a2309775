"""How often a password may be guessed. Pure but for its clock: knows addresses and times, no password."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

GUESSES = 5
"""Wrong passwords that one address may give within WINDOW_SECONDS."""
WINDOW_SECONDS = 60.0
_ADDRESSES = 10_000


class Throttle:
    """Counts guesses at passwords by address; `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: dict[str, deque[float]] = {}

    def wait(self, address: str) -> float:
        """Seconds until `address` may try again, 0 when it may now."""
        wrong = self._recent(address)
        return 0.0 if len(wrong) < GUESSES else WINDOW_SECONDS - (self._clock() - wrong[0])

    def guess(self, address: str) -> None:
        """`address` gives a password, a wrong one until `right` is told."""
        if len(self._wrong) >= _ADDRESSES:
            self._wrong.pop(next(iter(self._wrong)))
        self._wrong.setdefault(address, deque(maxlen=GUESSES)).append(self._clock())

    def right(self, address: str) -> None:
        """`address` gave the right one."""
        self._wrong.pop(address, None)

    def _recent(self, address: str) -> deque[float]:
        wrong = self._wrong.get(address, deque())
        while wrong and self._clock() - wrong[0] >= WINDOW_SECONDS:
            wrong.popleft()
        return wrong
