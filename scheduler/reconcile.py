"""Reconciliation: from the state of a run to what must happen now. Pure: reads nothing, sends nothing.

Adapters are enqueued one a message or, where they are trained jointly, those of a base in as many messages as there
are workers for them. Shards are enqueued with every adapter that is ready for them; while an adapter is still to come
only a few shards are let ahead, so that most of them meet a full group of adapters.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, groupby, islice

from config.queues import INFER_TASK, QUEUE_OF, TRAIN_TASK, VOTE_TASK, Queue
from nonet.runs.plan import JOINT, Plan
from scheduler.state import Phase, RunState, UnitState, UnitStatus

AHEAD_OF_TRAINING = 2
"""Shards that may wait while an adapter is still to come: work for a worker that has nothing to train."""
_COMING = (UnitState.READY, UnitState.QUEUED, UnitState.RUNNING)


@dataclass(frozen=True, slots=True)
class Message:
    """One task to enqueue. `keys` is what it will make, `label` what a person reads in Flower."""

    task: str
    run: str
    keys: tuple[str, ...]
    label: str
    shard: str | None = None

    @property
    def queue(self) -> Queue:
        return QUEUE_OF[self.task]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one run: messages to send, and open attempts (key, epoch) whose worker is gone."""

    messages: tuple[Message, ...]
    lost: tuple[tuple[str, int], ...]


def reconcile(
    state: RunState,
    waiting: Mapping[Queue, int],
    window: int,
    resting: Collection[str] = frozenset(),
    trainers: int = 1,
) -> Decision:
    """Decide what the run of `state` needs, `waiting` messages being in the queues and `window` the most allowed; the
    keys in `resting` are not enqueued now. Adapters that are trained jointly are shared among `trainers` workers."""
    lost = tuple((u.key, u.lost) for u in state.units if u.lost is not None)
    if state.phase is not Phase.RUNNING:
        return Decision((), lost)
    trainings = list(_trainings(state, resting, max(1, trainers)))
    room = max(0, window - waiting[Queue.INFER])
    if any(u.state in _COMING for u in state.adapters):
        room = min(room, max(0, AHEAD_OF_TRAINING - waiting[Queue.INFER]))
    messages = [*trainings[: max(0, window - waiting[Queue.TRAIN])], *islice(_shards(state, resting), room)]
    if state.vote is not None and state.vote.state is UnitState.READY and state.vote.key not in resting:
        messages.append(Message(VOTE_TASK, state.plan.run, (state.vote.key,), f"run={state.plan.run}"))
    return Decision(tuple(messages), lost)


def _trainings(state: RunState, resting: Collection[str], trainers: int) -> Iterator[Message]:
    plan = state.plan
    units = zip(state.adapters, plan.adapters, strict=True)
    ready = [(unit, adapter) for unit, adapter in units if unit.state is UnitState.READY and unit.key not in resting]
    for base in plan.bases:
        of_base = {unit.key: adapter for unit, adapter in ready if adapter.base == base.name}
        parts = trainers if base.trainer == JOINT else len(of_base)
        for group in _groups([unit for unit, _ in ready if unit.key in of_base], parts):
            adapters = [of_base[unit.key] for unit in group]
            names, questions = ", ".join(a.name for a in adapters), sum(a.questions for a in adapters)
            label = f"mix={names} questions={questions} steps={max(a.steps for a in adapters)} run={plan.run}"
            yield Message(TRAIN_TASK, plan.run, tuple(unit.key for unit in group), label)


def _shards(state: RunState, resting: Collection[str]) -> Iterator[Message]:
    """Base by base, and of one base in each message, so that a worker need not load another one for every shard."""
    plan, width = state.plan, len(state.plan.adapters)
    for base in plan.bases:
        of_base = [adapter.base == base.name for adapter in plan.adapters]
        for index, shard in enumerate(plan.shards):
            row = compress(state.cells[index * width : (index + 1) * width], of_base)
            ready = [u for u in row if u.state is UnitState.READY and u.key not in resting]
            for group in _groups(ready):
                names = ", ".join(u.name.rsplit("/", 1)[0] for u in group)
                label = f"shard={shard.name} adapters={names} run={plan.run}"
                yield Message(INFER_TASK, plan.run, tuple(u.key for u in group), label, shard.name)


def _groups(units: Sequence[UnitStatus], parts: int = 1) -> Iterator[list[UnitStatus]]:
    """Units that may share a message: those without a limit together, the others by as many as each allows; in at least
    so many `parts` of about one size, as long as there are units for them."""
    for limit, alike in groupby(sorted(units, key=_limit), key=_limit):
        group = list(alike)
        count = max(-(-len(group) // limit), min(parts, len(group)))
        size, larger = divmod(len(group), count)
        for number in range(count):
            start = number * size + min(number, larger)
            yield group[start : start + size + (number < larger)]


def _limit(unit: UnitStatus) -> int:
    return sys.maxsize if unit.group is None else unit.group


def rerun_units(
    state: RunState, *, failed: bool, adapters: Sequence[str], shards: Sequence[str]
) -> tuple[UnitStatus, ...]:
    """The units that `nonet rerun` means: those that failed, narrowed to the adapters and shards that are named."""
    units = state.failed if failed or not (adapters or shards) else tuple(_unfinished(state))
    return tuple(u for u in units if _named(state.plan, u, adapters, shards))


def _unfinished(state: RunState) -> Iterator[UnitStatus]:
    return (u for u in state.units if u.state is not UnitState.COMMITTED)


def _named(plan: Plan, unit: UnitStatus, adapters: Sequence[str], shards: Sequence[str]) -> bool:
    adapter, _, shard = unit.name.partition("/")
    return (not adapters or adapter in adapters) and (not shards or shard in shards)
