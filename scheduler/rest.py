"""Rests: what met a sick storage is not tried again at once. Knows what it has seen since this scheduler started."""

from __future__ import annotations

from collections.abc import Iterable

from nonet.runs.attempt import ErrorClass
from scheduler.state import UnitState, UnitStatus

LONGEST = 60.0
"""Seconds; the longest rest, reached after seven tries."""


class Rests:
    """Units that rest, each since this scheduler first saw how its last try ended."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, int], float] = {}

    def resting(self, units: Iterable[UnitStatus], now: float) -> frozenset[str]:
        """Keys of the ready `units` that must wait still; `now` is on a monotonic clock.

        A storage error says nothing about the work, so it never sets a unit aside; a second, then two, four, … pass
        before the next try instead.
        """
        keys = set()
        for unit in units:
            sick = unit.last is not None and unit.last.error_class is ErrorClass.STORAGE
            if not sick or unit.state is not UnitState.READY:
                continue
            since = self._since.setdefault((unit.key, unit.attempts), now)
            if now - since < min(LONGEST, 2.0 ** min(unit.attempts - 1, 6)):
                keys.add(unit.key)
        return frozenset(keys)
