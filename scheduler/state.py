"""The state of a run, read from storage (and, for what waits and who works, from the fleet). Decides nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import repeat
from typing import Any

from nonet.runs.attempt import Attempt, Attempts, Outcome, Tries
from nonet.runs.plan import ADAPTERS, VOTES, Cell, Plan, QuestionSet, ballots_scope
from nonet.runs.policy import Judgement, Standing, judge
from nonet.runs.result import result_stamp, result_stands
from nonet.stores.storage import Storage
from nonet.stores.store import Stamp
from scheduler.inflight import InFlight


class UnitState(StrEnum):
    """Where one unit of work stands."""

    WAITING = "waiting"  # for its adapter, and where a run stops when decided for all members' validation
    READY = "ready"
    QUEUED = "queued"
    RUNNING = "running"
    COMMITTED = "committed"
    FAILED = "failed"  # not again without `nonet rerun`


class Phase(StrEnum):
    """Where a run stands as a whole."""

    RUNNING = "running"
    COMPLETE = "complete"
    BLOCKED = "blocked"  # what can be done is done, and something failed
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """One unit: its state, its last attempt if it has any, and how many may share its next one (None: any number)."""

    name: str
    key: str
    scope: str
    state: UnitState
    attempts: int = 0
    last: Attempt | None = None
    group: int | None = None
    lost: int | None = None  # epoch of an open attempt that nobody holds
    progress: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RunState:
    """A run: its adapters and cells in the plan's order, and its vote (None until the ballots allow one)."""

    plan: Plan
    phase: Phase
    adapters: tuple[UnitStatus, ...]
    cells: tuple[UnitStatus, ...]
    vote: UnitStatus | None

    @property
    def units(self) -> tuple[UnitStatus, ...]:
        return (*self.adapters, *self.cells, *([self.vote] if self.vote else []))

    @property
    def failed(self) -> tuple[UnitStatus, ...]:
        return tuple(u for u in self.units if u.state is UnitState.FAILED)

    def cell_at(self, adapter: int, shard: int) -> UnitStatus:
        """The cell of the adapter and the shard at these positions in the plan."""
        return self.cells[shard * len(self.plan.adapters) + adapter]


class StateReader:
    """Reads the state of runs from one storage."""

    def __init__(self, storage: Storage, attempts: Attempts, in_flight: InFlight, failure_limit: int) -> None:
        self._storage = storage
        self._attempts = attempts
        self._in_flight = in_flight
        self._limit = failure_limit
        self._stood: dict[str, Stamp] = {}
        self._before: dict[str, _Before] = {}

    def read(self, plan: Plan) -> RunState:
        """The state of the run of `plan` now; raises OSError, redis.RedisError."""
        look = _Look(self._in_flight.queued(), self._in_flight.settling(), self._attempts)
        trained = self._storage.committed(ADAPTERS)
        adapters = tuple(self._unit(look, a.name, a.key, ADAPTERS, trained, ready=True) for a in plan.adapters)
        cells = self._cells(look, plan, trained)
        vote = self._vote(look, plan, cells)
        return RunState(plan, self._phase(plan, adapters, cells, vote), adapters, cells, vote)

    def _cells(self, look: _Look, plan: Plan, trained: frozenset[str]) -> tuple[UnitStatus, ...]:
        answered = {scope: self._storage.committed(scope) for scope in (ballots_scope(a.key) for a in plan.adapters)}
        before = self._before.get(plan.run)
        if before is not None and before.plan is not plan:
            before = None
        if before is not None and before.complete and before.answered == answered:
            return before.cells
        found = []
        held_back = plan.stop_when_decided and not _measured(plan, trained, answered)
        for cell, old in zip(plan.cells, before.cells if before else repeat(None), strict=False):
            ready = cell.adapter.key in trained and not (held_back and cell.shard.set is QuestionSet.TEST)
            if cell.key in answered[cell.scope]:
                found.append(_plain(cell, UnitState.COMMITTED, old))
            elif cell.key in look.tried:
                found.append(self._tried(look, cell.name, cell.key, cell.scope, ready))
            else:
                found.append(_plain(cell, _untried(cell.key, look.queued, ready), old))
        self._before[plan.run] = _Before(plan, answered, tuple(found))
        return self._before[plan.run].cells

    def _vote(self, look: _Look, plan: Plan, cells: Sequence[UnitStatus]) -> UnitStatus | None:
        """The vote that the ballots at hand allow: over all cells, or, if asked for, over those there will ever be."""
        if all(unit.state is UnitState.COMMITTED for unit in cells):
            key = plan.whole_vote_key
        else:
            settled = all(u.state in (UnitState.COMMITTED, UnitState.FAILED, UnitState.WAITING) for u in cells)
            if not (plan.vote["allow_partial"] and settled and self._idle(plan)):
                return None
            present = [c for c, u in zip(plan.cells, cells, strict=True) if u.state is UnitState.COMMITTED]
            key = plan.vote_key(plan.vote, present)
        if self._voted(plan, key):
            return UnitStatus("vote", key, VOTES, UnitState.COMMITTED)
        if not self._attempts.latest(key):
            return UnitStatus("vote", key, VOTES, _untried(key, look.queued, ready=True))
        unit = self._tried(look, "vote", key, VOTES, True)
        if unit.state is UnitState.COMMITTED and not self._voted(plan, key):  # its result is missing or damaged
            return replace(unit, state=_untried(key, look.queued, ready=True))
        return unit

    def _idle(self, plan: Plan) -> bool:
        """Whether no adapter of `plan` can still come."""
        trained = self._storage.committed(ADAPTERS)
        missing = [a for a in plan.adapters if a.key not in trained]
        return all(self._judge(self._attempts.tries(a.key)).standing is Standing.EXHAUSTED for a in missing)

    def _voted(self, plan: Plan, key: str) -> bool:
        """A vote counts as committed when its result stands in the run's folder too, unharmed."""
        stamp = result_stamp(self._storage, plan, key)
        if stamp is None:
            return False
        if self._stood.get(plan.run) != stamp:
            if not result_stands(self._storage, plan, key):
                return False
            self._stood[plan.run] = stamp
        return True

    def _unit(
        self, look: _Look, name: str, key: str, scope: str, committed: frozenset[str], *, ready: bool
    ) -> UnitStatus:
        if key in committed:
            return UnitStatus(name, key, scope, UnitState.COMMITTED)
        if key not in look.tried:
            return UnitStatus(name, key, scope, _untried(key, look.queued, ready))
        return self._tried(look, name, key, scope, ready)

    def _tried(self, look: _Look, name: str, key: str, scope: str, ready: bool) -> UnitStatus:
        """A unit that had no commit when that was looked at, as its attempts tell."""
        tries = self._attempts.tries(key)
        verdict, count = self._judge(tries), tries.latest
        if verdict.standing is Standing.OPEN and verdict.last is not None:
            held = look.settling or bool(self._in_flight.leased([key]))
            lost = None if held else verdict.last.epoch
            return UnitStatus(
                name, key, scope, UnitState.RUNNING, count, verdict.last, lost=lost, progress=self._progress(key)
            )
        if verdict.last is not None and verdict.last.outcome is Outcome.COMMITTED and self._storage.has(scope, key):
            return UnitStatus(name, key, scope, UnitState.COMMITTED, count)  # committed since the listing
        failed = verdict.standing is Standing.EXHAUSTED
        state = UnitState.FAILED if failed else _untried(key, look.queued, ready)
        return UnitStatus(name, key, scope, state, count, verdict.last, verdict.group)

    def _judge(self, tries: Tries) -> Judgement:
        return judge(tries.attempts, tries.pardoned, self._limit)

    def _progress(self, key: str) -> Mapping[str, Any] | None:
        with suppress(OSError, ValueError):
            record: Mapping[str, Any] = json.loads(self._storage.store.read(self._storage.home.progress(key)))
            return record
        return None

    def _phase(
        self,
        plan: Plan,
        adapters: Sequence[UnitStatus],
        cells: Sequence[UnitStatus],
        vote: UnitStatus | None,
    ) -> Phase:
        if vote is not None and vote.state is UnitState.COMMITTED:
            return Phase.COMPLETE
        if self._storage.store.exists(self._storage.home.cancelled(plan.run)):
            return Phase.CANCELLED
        units = [*adapters, *cells, *([vote] if vote else [])]
        active = (UnitState.READY, UnitState.QUEUED, UnitState.RUNNING)
        return Phase.RUNNING if any(u.state in active for u in units) else Phase.BLOCKED


@dataclass(frozen=True)
class _Look:
    """One look at what is in flight, shared by all units of a reading; it lists what was `tried` once it is asked."""

    queued: frozenset[str]
    settling: bool
    attempts: Attempts

    @cached_property
    def tried(self) -> frozenset[str]:
        return self.attempts.tried()


@dataclass(frozen=True)
class _Before:
    """What the look before this one found of a run's cells: committed keys by scope, and the cells' statuses."""

    plan: Plan
    answered: Mapping[str, frozenset[str]]
    cells: tuple[UnitStatus, ...]

    @cached_property
    def complete(self) -> bool:
        return all(unit.state is UnitState.COMMITTED and not unit.attempts for unit in self.cells)


def _plain(cell: Cell, state: UnitState, before: UnitStatus | None) -> UnitStatus:
    """The status of a cell of which no attempt is known: the one of the look `before` where nothing has changed."""
    if before is not None and before.state is state and before.last is None and not before.attempts:
        return before
    return UnitStatus(cell.name, cell.key, cell.scope, state)


def _measured(plan: Plan, trained: frozenset[str], answered: Mapping[str, frozenset[str]]) -> bool:
    """Whether every member is trained and has answered the validation: who votes, and in what order, is known then."""
    validation = (cell for cell in plan.cells if cell.shard.set is QuestionSet.VALIDATION)
    return all(a.key in trained for a in plan.adapters) and all(c.key in answered[c.scope] for c in validation)


def _untried(key: str, queued: frozenset[str], ready: bool) -> UnitState:
    if key in queued:
        return UnitState.QUEUED
    return UnitState.READY if ready else UnitState.WAITING
