"""The five promises, checked after every fault by one checker.

One committed result per key; no partial file visible; the submission identical to the fault-free run's; nothing stuck;
no more executions than the fault explains.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from pathlib import Path

from config.queues import lease_name
from nonet.runs.attempt import Attempt, Attempts, Outcome
from nonet.runs.plan import ADAPTERS, Plan
from nonet.stores.atomic import PART
from nonet.stores.key import digest
from nonet.stores.storage import Storage
from scheduler.state import Phase, RunState, UnitState, UnitStatus
from tests.rig import Rig

PATIENCE = 120.0
"""Seconds after which open books, leases and leftovers count as left for ever."""
SETTLED = (UnitState.COMMITTED, UnitState.FAILED, UnitState.WAITING)
"""Where a unit may stand when its run is blocked; a cancelled run's units may be ready too."""


def check_promises(
    rig: Rig, plan: Plan, *, expected: bytes | None, extra_executions: int, deleted: Container[str] = ()
) -> None:
    """Assert the five promises on a run that has come to rest.

    `expected` is the fault-free submission (None where the fault leaves the run blocked); `extra_executions` is the
    number of attempts, beyond one a unit, that the fault explains at most; `deleted` holds the keys whose commits the
    fault took away without a trace.
    """
    state = rig.state(plan)
    _books_are_closed(rig, state)
    state = rig.state(plan)
    _one_result_each(rig, state, deleted)
    _nothing_partial(rig, state)
    _submission_is(rig, state, expected)
    _nothing_is_stuck(state)
    begun, tried = executions(rig, state)
    assert begun <= tried + extra_executions, (
        f"{begun} executions of {tried} units, {extra_executions} explained:\n" + "\n".join(_histories(rig, state))
    )


def executions(rig: Rig, state: RunState) -> tuple[int, int]:
    """(attempts begun, units tried) of a run."""
    histories = [rig.attempts.history(u.key) for u in state.units]
    return sum(map(len, histories)), sum(map(bool, histories))


def _books_are_closed(rig: Rig, state: RunState) -> None:
    """Every attempt gets an outcome, at once by its worker or within a lease by whoever finds it; nobody holds a lease
    or a compute process for work that is over."""

    def open_attempts() -> list[Attempt]:
        return [a for u in state.units for a in rig.attempts.history(u.key) if a.outcome is None]

    names = [lease_name(unit.key) for unit in state.units]
    rig.wait(lambda: not open_attempts(), PATIENCE, "an outcome for every attempt")
    rig.wait(lambda: not rig.client.exists(*names), PATIENCE, "an end of every lease")
    rig.wait(lambda: not rig.orphans(), PATIENCE, "no compute process without its worker")


def _one_result_each(rig: Rig, state: RunState, deleted: Container[str]) -> None:
    """Every commit is whole, and exactly the attempt that it names says that it committed."""
    storage, attempts = Storage(rig.storage.home), Attempts(rig.storage.home)  # have seen nothing yet
    for unit in state.units:
        commit = storage.read(unit.scope, unit.key)  # raises when damaged
        saying = [a.epoch for a in attempts.history(unit.key) if a.outcome is Outcome.COMMITTED]
        aside = storage.store.names(storage.home.quarantine)
        set_aside = sum(name.startswith(f"{unit.scope}.{unit.key}.") for name in aside)
        if commit is not None:
            assert commit.epoch in saying, f"{unit.name}: committed by attempt {commit.epoch}, but it is {saying}"
            assert len(saying) <= 1 + set_aside + (unit.key in deleted), (
                f"{unit.name}: attempts {saying} all say that they committed"
            )
        else:
            assert unit.state is not UnitState.COMMITTED, f"{unit.name}: counted as committed without a commit"


def _nothing_partial(rig: Rig, state: RunState) -> None:
    """Whatever stands under a plain name is whole; once the run is complete, no leftover of a kill remains."""
    home, store, plan = rig.storage.home, rig.storage.store, state.plan
    for name in (*plan.inputs.values(), *(a.input for a in plan.adapters)):
        rig.storage.read_input(name)  # raises when it is not whole
    for folder in (home.run(plan.run), *(home.attempts(u.key) for u in state.units)):
        for path in (folder / name for name in store.names(folder) if name.endswith(".json")):
            assert isinstance(json.loads(store.read(path)), dict), f"{path} is not whole"
    if state.phase is Phase.COMPLETE and any(name.startswith("scheduler") for name in rig.processes):
        rig.wait(lambda: not list(leftovers(rig, state)), PATIENCE, f"no leftovers: {list(leftovers(rig, state))}")


def leftovers(rig: Rig, state: RunState) -> Iterator[Path]:
    """What killed processes left behind of a complete run."""
    home, store = rig.storage.home, rig.storage.store
    for unit in state.units:
        record = home.commits(unit.scope) / f"{unit.key}.json"
        aside = (n for n in store.names(home.quarantine) if n.startswith(f"{unit.scope}.{unit.key}."))
        records = (record, *(home.quarantine / name for name in aside))
        named = b"".join(store.read(r) for r in records if store.exists(r))
        blob = home.blob(unit.key)
        yield from (blob / name for name in store.names(blob) if name.encode() not in named)
        yield from home.commits(unit.scope).glob(f"{PART}{unit.key}*")
        yield from (p for p in _listed(home.attempts(unit.key)) if p.name.startswith(PART))
        yield from (p for p in (home.checkpoint(unit.key),) if store.holds(p))
        yield from (p for p in (home.progress(unit.key),) if store.exists(p))
    yield from home.run(state.plan.run).glob(f"{PART}*")


def _submission_is(rig: Rig, state: RunState, expected: bytes | None) -> None:
    if expected is None:
        assert state.phase in (Phase.BLOCKED, Phase.CANCELLED), state.phase
        return
    assert state.phase is Phase.COMPLETE, state.phase
    found = rig.submission(state.plan)
    assert found == expected, "the submission differs from the fault-free run's"
    manifest = rig.storage.home.submission(state.plan.run, f"{state.plan.submission}.manifest.json")
    assert json.loads(rig.storage.store.read(manifest))["submission"]["sha256"] == digest(expected)


def _nothing_is_stuck(state: RunState) -> None:
    """Every unit is ready, in flight, failed with a reason, or committed; which of these, the phase says."""
    for unit in state.units:
        assert unit.lost is None, f"{unit.name}: in work, but nobody works on it"
        if unit.state is UnitState.FAILED:
            assert unit.last is not None, f"{unit.name}: failed without an attempt"
            assert unit.last.error, f"{unit.name}: failed without a reason"
        if unit.state is UnitState.WAITING:
            assert not _committed_adapter(state, unit), f"{unit.name}: waits for an adapter that is there"
    if state.phase is Phase.COMPLETE and not state.plan.vote["allow_partial"]:
        assert {u.state for u in state.units} == {UnitState.COMMITTED}
    if state.phase is Phase.BLOCKED:
        assert {u.state for u in state.units} <= set(SETTLED)
        assert state.failed, "blocked, but nothing failed"


def _committed_adapter(state: RunState, cell: UnitStatus) -> bool:
    name = cell.name.rpartition("/")[0]
    return any(a.name == name and a.state is UnitState.COMMITTED and a.scope == ADAPTERS for a in state.adapters)


def _histories(rig: Rig, state: RunState) -> Iterator[str]:
    for unit in state.units:
        for attempt in rig.attempts.history(unit.key):
            yield f"  {unit.name} {attempt.epoch} on {attempt.worker}: {attempt.outcome} {attempt.error or ''}"


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
