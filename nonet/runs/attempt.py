"""Attempts: the history of every try at every key, on shared storage. Knows epochs and outcomes, not retry policy.

`attempts/<key>/<epoch>.json` is created exclusively when a try begins, `<epoch>.end.json` exclusively when it ends:
the first outcome stands. A try whose epoch is not the latest, or that somebody else has ended, is stale and must not
publish.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from nonet.stores.home import Home


class Outcome(StrEnum):
    """How a try ended."""

    COMMITTED = "committed"
    FAILED = "failed"
    LOST = "lost"  # its worker or its compute process died
    CANCELLED = "cancelled"
    DRAINED = "drained"  # its worker was asked to stop and gave the work back


class ErrorClass(StrEnum):
    """Why a try failed: what the retry policy looks at."""

    BAD_INPUT = "bad_input"
    OUT_OF_MEMORY = "out_of_memory"
    STORAGE = "storage"
    ENGINE = "engine"
    TIMEOUT = "timeout"
    WORKER_LOST = "worker_lost"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one key; times are seconds since 1970 on the clock of `host` and decide nothing. `task` is the id of
    the Celery task that it was made in, by which Flower shows it."""

    key: str
    epoch: int
    host: str
    worker: str
    run: str
    log: str
    group: int
    started: float
    outcome: Outcome | None = None
    error_class: ErrorClass | None = None
    error: str | None = None
    ended: float | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Tries:
    """All that was tried at one key: attempts in the order of epochs (unreadable ones left out), the highest epoch
    begun and the last forgiven, each 0 where there is none.
    """

    attempts: tuple[Attempt, ...]
    latest: int
    pardoned: int


class Attempts:
    """The attempts under a home. One that has ended never changes, so each of those is read once."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.store = home.store
        self._ended_ones: dict[tuple[str, int], Attempt] = {}

    def begin(
        self,
        key: str,
        *,
        host: str,
        worker: str,
        run: str,
        log: Path,
        group: int,
        task: str | None = None,
        after: int | None = None,
    ) -> Attempt | None:
        """Begin the epoch of `key` after `after` (None: the latest); None when another process began it first."""
        epoch = (self.latest(key) if after is None else after) + 1
        relative = log.relative_to(self.home.root).as_posix()
        attempt = Attempt(key, epoch, host, worker, run, relative, group, time.time(), task=task)
        record = {name: value for name, value in asdict(attempt).items() if value is not None}
        return attempt if self.store.create(self._begun(key, epoch), json.dumps(record).encode()) else None

    def end(
        self, key: str, epoch: int, outcome: Outcome, error_class: ErrorClass | None = None, error: str | None = None
    ) -> bool:
        """Write how `epoch` of `key` ended; False when its outcome was written before."""
        record = {"outcome": outcome, "error_class": error_class, "error": error, "ended": time.time()}
        return self.store.create(self._ended(key, epoch), json.dumps(record, ensure_ascii=False).encode())

    def tries(self, key: str) -> Tries:
        """All that was tried at `key`, by one listing."""
        names = self._names(key)
        epochs = sorted(_epoch(name) for name in names if _is_begun(name))
        pardoned = max((_epoch(name) for name in names if name.endswith(".pardon.json")), default=0)
        found = (self._read(key, epoch) for epoch in epochs)
        return Tries(tuple(a for a in found if a is not None), max(epochs, default=0), pardoned)

    def latest(self, key: str) -> int:
        """The highest epoch of `key` that was begun, 0 when there is none."""
        return max((_epoch(name) for name in self._names(key) if _is_begun(name)), default=0)

    def is_current(self, key: str, epoch: int) -> bool:
        """Whether `epoch` may still publish: it is the latest and nobody has ended it."""
        return self.latest(key) == epoch and not self.store.exists(self._ended(key, epoch))

    def still_open(self, key: str) -> tuple[int, ...]:
        """The epochs of `key` that were begun and have not ended, by one listing."""
        names = frozenset(self._names(key))
        epochs = sorted(_epoch(name) for name in names if _is_begun(name))
        return tuple(epoch for epoch in epochs if self._ended(key, epoch).name not in names)

    def history(self, key: str) -> tuple[Attempt, ...]:
        """Every attempt at `key` in the order of epochs; unreadable records are left out."""
        return self.tries(key).attempts

    def pardon(self, key: str) -> int:
        """Forgive every attempt at `key` so far, so that it may be tried again; returns the last epoch forgiven."""
        epoch = self.latest(key)
        self.store.create(self.home.attempts(key) / f"{epoch:04d}.pardon.json", b"{}")
        return epoch

    def tried(self) -> frozenset[str]:
        """Keys that have any attempt."""
        return frozenset(self.store.names(self.home.all_attempts))

    def sweep(self, key: str) -> None:
        """Remove what killed writers left half written; a living one writes again."""
        self.store.sweep(self.home.attempts(key))

    def _read(self, key: str, epoch: int) -> Attempt | None:
        known = self._ended_ones.get((key, epoch))
        if known is not None:
            return known
        try:
            record = json.loads(self.store.read(self._begun(key, epoch)))
            with suppress(FileNotFoundError):
                end = json.loads(self.store.read(self._ended(key, epoch)))
                record |= end
                record["outcome"] = Outcome(end["outcome"])
                record["error_class"] = ErrorClass(end["error_class"]) if end["error_class"] else None
            attempt = Attempt(**record)
            if attempt.outcome is not None:
                self._ended_ones[key, epoch] = attempt
            return attempt
        except (ValueError, TypeError, KeyError):
            return None

    def _names(self, key: str) -> list[str]:
        return self.store.names(self.home.attempts(key))

    def _begun(self, key: str, epoch: int) -> Path:
        return self.home.attempts(key) / f"{epoch:04d}.json"

    def _ended(self, key: str, epoch: int) -> Path:
        return self.home.attempts(key) / f"{epoch:04d}.end.json"


def _is_begun(name: str) -> bool:
    return name.count(".") == 1 and name.endswith(".json") and name[:4].isdigit()


def _epoch(name: str) -> int:
    return int(name.split(".", 1)[0])
