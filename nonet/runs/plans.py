"""Plans as they are read again and again: each is parsed once for every state of its file. Knows no state of a run."""

from __future__ import annotations

from pathlib import Path

from nonet.runs.plan import Plan, plan_from_json
from nonet.stores.store import Stamp, Store

KEPT = 64
"""Plans that are kept in memory; a large one is some 100 MB with its cells."""


class Plans:
    """The plans in one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[Path, tuple[Stamp, Plan]] = {}

    def read(self, path: Path) -> Plan:
        """The plan in the file `path`; raises OSError, and what `plan_from_json` raises."""
        stamp = self._store.stamp(path)
        kept = self._kept.pop(path, None)
        if kept is None or kept[0] != stamp:
            kept = (stamp, plan_from_json(self._store.read(path)))
        self._kept[path] = kept
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return kept[1]
