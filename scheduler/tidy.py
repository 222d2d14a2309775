"""Tidying: the books of a run that has come to rest are closed, and what killed processes left behind is removed.

Knows leftovers, decides nothing: without it every result is the same. Safe at any time and from any machine, since
whatever a living process might still need is either kept or written again (nonet.stores.atomic).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from nonet.runs.attempt import Attempts, ErrorClass, Outcome
from nonet.runs.plan import ADAPTERS
from nonet.stores.storage import DamagedError, Storage
from scheduler.state import RunState, UnitState

LATE = "another attempt committed first"


def tidying(storage: Storage, attempts: Attempts, state: RunState) -> Iterator[None]:
    """Close the attempts that killed processes left open at committed units, and remove leftovers: a step for each
    unit, which may be taken at leisure. Raises OSError.
    """
    done = defaultdict(list)
    showing = frozenset(storage.store.names(storage.home.all_progress))
    for unit in state.units:
        if unit.state is UnitState.COMMITTED:
            done[unit.scope].append(unit.key)
            _close(storage, attempts, unit.scope, unit.key)
            if storage.home.progress(unit.key).name in showing:
                storage.store.delete(storage.home.progress(unit.key))
            yield
    for scope, keys in done.items():
        storage.sweep(scope, keys)
        yield
    for key in done[ADAPTERS]:
        storage.store.remove_folder(storage.home.checkpoint(key))
    home, run, name = storage.home, state.plan.run, state.plan.submission
    written = [home.plan(run), home.batch_text(run), home.cancelled(run), home.submission(run, name)]
    written += [home.manifest(run, name), home.score(run), home.report(run), home.pseudo(run), home.logbook]
    for path in written:
        storage.store.sweep(path.parent, [path.name])


def _close(storage: Storage, attempts: Attempts, scope: str, key: str) -> None:
    """End the open attempts at a committed key: its holder died between the commit and writing its outcome."""
    attempts.sweep(key)
    still_open = attempts.still_open(key)
    if not still_open:
        return
    try:
        commit = storage.read(scope, key)
    except DamagedError:
        return
    for epoch in still_open:
        if commit is not None and commit.epoch == epoch:
            attempts.end(key, epoch, Outcome.COMMITTED)
        elif commit is not None:
            attempts.end(key, epoch, Outcome.LOST, ErrorClass.WORKER_LOST, LATE)
