"""Claims: the keys of one message that this worker may work on now. Knows leases, attempts, commits and their order.

The order is: skip what is committed, take the lease, end what an earlier holder left open, begin an epoch, bar the
earlier ones, work, commit if the epoch is still current, write the outcome, release the lease. Whatever happens, each
begun epoch ends with an outcome, unless the process dies: then the scheduler, or the next holder, writes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from celery import current_task

from config.queues import sent_name
from nonet.log_line import artifact_names, written_line
from nonet.runs.attempt import Attempt, ErrorClass, Outcome
from nonet.runs.policy import Judgement, Standing, judge
from nonet.stores.storage import DamagedError, DamagedInputError, Published
from tasks.context import TaskContext
from tasks.failure import WorkFailedError
from tasks.lease import TAKEN_OVER, Leases
from tasks.port import ComputeError, Mark, Stop, StoppedError
from tasks.waiting import when_stored
from tasks.wake import wake


@dataclass(frozen=True, slots=True)
class Unit:
    """A key to be made: its storage scope and the name that people know it by."""

    scope: str
    key: str
    name: str


_NOT_PUBLISHED = {
    Published.STALE: "a newer attempt has begun, or this one was given up for lost",
    Published.ALREADY: "another attempt committed first",
}
_STOP_OUTCOMES = {
    Stop.CANCELLED: Outcome.CANCELLED,
    Stop.DRAIN: Outcome.DRAINED,
    Stop.LEASE_LOST: Outcome.LOST,
}


class Claim:
    """The units of one message that this worker holds, each with its attempt."""

    def __init__(self, context: TaskContext, run: str, leases: Leases) -> None:
        self._context = context
        self._leases = leases
        self._looked = 0.0
        self.run = run
        self.units: dict[str, Unit] = {}
        self.attempts: dict[str, Attempt] = {}
        self.outcomes: dict[str, str] = {}
        self._failed: set[str] = set()
        self._log: Path | None = None

    def take(self, units: Iterable[Unit], group: int) -> None:
        """Claim every unit that is neither committed nor held by another worker; none when the run is cancelled."""
        cancelled = self._context.cancelled(self.run)
        for unit in units:
            refusal = "cancelled" if cancelled else self._refusal(unit, group)
            if refusal is not None:
                self.outcomes[unit.name] = refusal
                self._unmark(unit)

    @property
    def log(self) -> Path:
        """The log file on this machine that this claim's attempts share."""
        attempt = next(iter(self.attempts.values()))
        return self._context.home.root / attempt.log

    @property
    def mark(self) -> Mark:
        """What the lines of that log are marked with."""
        return Mark(self.run, artifact_names([unit.name for unit in self.open_units()]))

    def open_units(self) -> tuple[Unit, ...]:
        """Units whose attempt has not ended."""
        return tuple(self.units[key] for key in self.attempts)

    def receipt(self) -> dict[str, str]:
        """What became of each unit, by name; raises WorkFailedError when one failed or was lost."""
        if self._failed:
            raise WorkFailedError("; ".join(f"{name}: {self.outcomes[name]}" for name in sorted(self._failed)))
        return self.outcomes

    def staging(self, unit: Unit) -> Path:
        return self._context.storage.staging(unit.key, self.attempts[unit.key].epoch)

    def commit(self, unit: Unit, *, folder: Path | None = None, body: Mapping[str, Any] | None = None) -> bool:
        """Publish `unit`; False when its epoch is stale. Waits for a storage that is full or away; raises OSError."""
        epoch, attempts, publish = self.attempts[unit.key].epoch, self._context.attempts, self._context.storage.publish

        def current() -> bool:
            return attempts.is_current(unit.key, epoch)

        published = when_stored(
            lambda: publish(unit.scope, unit.key, epoch, folder=folder, body=body, current=current),
            self._context.compute.draining,
        )
        if published is Published.COMMITTED:
            self._close(unit, Outcome.COMMITTED)
            return True
        self._close(unit, Outcome.LOST, ErrorClass.WORKER_LOST, f"nothing was published: {_NOT_PUBLISHED[published]}")
        return False

    def fail(self, unit: Unit, error_class: ErrorClass, error: str) -> None:
        """End the attempt at `unit` as failed (as lost when its process died)."""
        lost = error_class is ErrorClass.WORKER_LOST
        self._close(unit, Outcome.LOST if lost else Outcome.FAILED, error_class, error)

    def end_all(self, error: BaseException) -> None:
        """End every attempt that is still open, as `error` says."""
        for unit in self.open_units():
            if isinstance(error, StoppedError):
                self._close(unit, _STOP_OUTCOMES[error.stop], None, str(error))
            elif isinstance(error, ComputeError):
                self.fail(unit, ErrorClass(error.error_class), str(error))
            elif isinstance(error, DamagedInputError):
                self.fail(unit, ErrorClass.BAD_INPUT, str(error))
            elif isinstance(error, OSError | DamagedError):
                self.fail(unit, ErrorClass.STORAGE, str(error))
            else:
                self.fail(unit, ErrorClass.ENGINE, f"{type(error).__name__}: {error}")

    def poll(self) -> Stop | None:
        """Whether to stop: drained, cancelled, or every open unit taken over by somebody else."""
        if self._context.compute.draining():
            return Stop.DRAIN
        now = time.monotonic()
        if now - self._looked < self._context.home.store.look_seconds:
            return None
        self._looked = now
        self._share_log()
        current = self._context.attempts.is_current
        try:
            if self._context.cancelled(self.run):
                return Stop.CANCELLED
            stale = [a for a in self.attempts.values() if self._leases.lost(a.key) or not current(a.key, a.epoch)]
        except OSError:  # nothing can be known of the others now, and nothing can be published before it can
            return None
        return Stop.LEASE_LOST if self.attempts and len(stale) == len(self.attempts) else None

    def _refusal(self, unit: Unit, group: int) -> str | None:
        """Why `unit` is not to be worked on here; None when it is claimed."""
        if self._context.storage.has(unit.scope, unit.key):
            return "already committed"
        try:
            if not self._leases.acquire(unit.key):
                return "held by another worker"
        except redis.RedisError as error:  # says nothing about the work: it is enqueued again
            return f"Redis is away: {error}"
        refusal = self._begin(unit, group)
        if refusal is not None:
            self._leases.release([unit.key])
        return refusal

    def _unmark(self, unit: Unit) -> None:
        """Let the scheduler enqueue `unit` again, should it be needed."""
        with suppress(redis.RedisError):
            self._context.client.delete(sent_name(unit.key))

    def _begin(self, unit: Unit, group: int) -> str | None:
        """Begin an epoch of `unit` under its lease; why not, where that is not to be."""
        context = self._context
        if context.storage.has(unit.scope, unit.key):  # committed between the look and the lease
            return "already committed"
        latest, standing = self._standing(unit.key)
        if standing.standing is Standing.OPEN and standing.last is not None:
            context.attempts.end(unit.key, standing.last.epoch, Outcome.LOST, ErrorClass.WORKER_LOST, TAKEN_OVER)
            latest, standing = self._standing(unit.key)
        if standing.standing is Standing.EXHAUSTED:
            return "failed for good"
        if standing.group is not None and group > standing.group:  # the message is older than its last failure
            return "to be tried in a smaller group"
        first = next(iter(self.attempts.values()), None)
        log = context.home.root / first.log if first else context.home.log(unit.key, latest + 1)
        task = current_task.request.id if current_task else None
        where = {"host": context.settings.host, "worker": context.worker, "run": self.run}
        attempt = context.attempts.begin(unit.key, **where, log=log, group=group, task=task, after=latest)
        if attempt is None:
            return "begun by another worker"
        self.units[unit.key] = unit
        self.attempts[unit.key] = attempt
        self._log = log
        context.storage.fence(unit.scope, unit.key, attempt.epoch)
        if context.storage.has(unit.scope, unit.key):  # by an earlier epoch, just before the fence
            self._close(unit, Outcome.LOST, ErrorClass.WORKER_LOST, "an earlier attempt committed after all")
        return None

    def _note(self, text: str) -> None:
        """A line of this worker's own in the log, as far as storage lets it."""
        mark = self.mark
        with suppress(OSError):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a", encoding="utf-8") as file:
                file.write(written_line(mark.run, mark.artifact, text, time.time()))

    def _share_log(self) -> None:
        """Show the log to other machines as it is now; where that fails it is shown later."""
        if self._log is not None:
            with suppress(OSError):
                self._context.home.store.share(self._log)

    def _standing(self, key: str) -> tuple[int, Judgement]:
        """The latest epoch of `key`, and what its attempts allow."""
        tries = self._context.attempts.tries(key)
        return tries.latest, judge(tries.attempts, tries.pardoned, self._context.settings.failure_limit)

    def _close(
        self, unit: Unit, outcome: Outcome, error_class: ErrorClass | None = None, error: str | None = None
    ) -> None:
        epoch, end = self.attempts[unit.key].epoch, self._context.attempts.end
        self._note(f"{unit.name}: {outcome}{f': {error}' if error else ''}")
        self._share_log()
        when_stored(lambda: end(unit.key, epoch, outcome, error_class, error), self._context.compute.draining)
        del self.attempts[unit.key]
        with suppress(OSError):
            self._context.home.store.delete(self._context.home.progress(unit.key))
        self._leases.release([unit.key])
        self._unmark(unit)
        self.outcomes[unit.name] = outcome.value if error is None else f"{outcome.value}: {error}"
        if outcome in (Outcome.FAILED, Outcome.LOST):
            self._failed.add(unit.name)
        wake(self._context.client)


@contextmanager
def claimed(context: TaskContext, run: str, units: Iterable[Unit], group: int) -> Iterator[Claim]:
    """Claim `units` for the length of a with block. Errors in the block end the open attempts; they go no further,
    since the history on storage has them."""
    leases = Leases(context.client, context.settings.lease_seconds)
    claim = Claim(context, run, leases)
    try:
        claim.take(units, group)
        yield claim
        if claim.attempts:
            claim.end_all(RuntimeError("the task returned without a result; this is a defect of Nonet"))
    except Exception as error:
        claim.end_all(error)
    finally:
        leases.close()
        wake(context.client)
