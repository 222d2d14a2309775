"""What a run still has to do, in units whose cost can be measured: steps to train, questions for a member to answer.

Pure: knows a run's state, no rates and no clock. What failed for good is not left: nobody will do it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nonet.runs.plan import JOINT, Cell, PlannedAdapter
from scheduler.state import RunState, UnitState, UnitStatus

_COMING = (UnitState.WAITING, UnitState.READY, UnitState.QUEUED)


@dataclass(frozen=True, slots=True)
class TrainingLeft:
    """A training to come: `units` are its steps. Those of one base that are trained jointly end together."""

    adapter: str
    base: str
    units: float
    joint: bool = False


@dataclass(frozen=True, slots=True)
class AnswersLeft:
    """Cells of one adapter to come: `units` are their questions."""

    adapter: str
    base: str
    units: float


@dataclass(frozen=True, slots=True)
class InWork:
    """What one worker is at, the cells or the adapters of one message: `units` are left of it, `told` the seconds left
    by its own pace (None: it does not say), `pace` the seconds a unit that it has shown (None: too early)."""

    worker: str
    names: tuple[str, ...]
    base: str
    trains: bool
    units: float
    told: float | None = None
    pace: float | None = None


@dataclass(frozen=True, slots=True)
class WorkLeft:
    """All of it. `messages` says by base how many shards are still to be sent to somebody."""

    in_work: tuple[InWork, ...]
    trainings: tuple[TrainingLeft, ...]
    answers: tuple[AnswersLeft, ...]
    messages: Mapping[str, int]

    @property
    def cells(self) -> bool:
        return bool(self.answers) or any(not held.trains for held in self.in_work)


FIRST_STEPS = 3
"""Steps of a training, or prompts answered, before its pace counts: the first ones are slow."""


def work_left(state: RunState) -> WorkLeft:
    """What the run of `state` still has to do."""
    joint = {base.name: base.trainer == JOINT for base in state.plan.bases}
    trainings: list[TrainingLeft] = []
    training: dict[tuple[str, str], list[tuple[PlannedAdapter, UnitStatus]]] = defaultdict(list)
    gone: set[str] = set()
    for unit, adapter in zip(state.adapters, state.plan.adapters, strict=True):
        if unit.state is UnitState.FAILED:
            gone.add(adapter.name)
        elif _held(unit) and unit.last is not None:
            training[unit.last.worker, unit.last.log].append((adapter, unit))
        elif unit.state is not UnitState.COMMITTED:
            trainings.append(TrainingLeft(adapter.name, adapter.base, float(adapter.steps), joint[adapter.base]))
    held: dict[tuple[str, str], list[tuple[Cell, UnitStatus]]] = defaultdict(list)
    questions: dict[tuple[str, str], float] = defaultdict(float)
    shards: dict[str, set[str]] = defaultdict(set)
    for cell, unit in zip(state.plan.cells, state.cells, strict=True):
        if unit.state is UnitState.COMMITTED or unit.state is UnitState.FAILED or cell.adapter.name in gone:
            continue
        if _held(unit) and unit.last is not None:
            held[unit.last.worker, unit.last.log].append((cell, unit))
        else:
            questions[cell.adapter.name, cell.adapter.base] += cell.shard.questions
            shards[cell.adapter.base].add(cell.shard.name)
    in_work = [
        *(_trainings_in_work(worker, found, joint[found[0][0].base]) for (worker, _), found in training.items()),
        *(_answers_in_work(worker, found) for (worker, _), found in held.items()),
    ]
    answers = tuple(AnswersLeft(name, base, units) for (name, base), units in questions.items())
    return WorkLeft(tuple(in_work), tuple(trainings), answers, {base: len(names) for base, names in shards.items()})


def _held(unit: UnitStatus) -> bool:
    return unit.state is UnitState.RUNNING and unit.lost is None


def _trainings_in_work(worker: str, found: Sequence[tuple[PlannedAdapter, UnitStatus]], joint: bool) -> InWork:
    """The adapters of one message that are not trained yet: one after the other, or all at once, ending together."""
    lefts, tolds = [], []
    for adapter, unit in found:
        progress = unit.progress or {}
        done, told = _number(progress, "step"), _number(progress, "seconds_left")
        lefts.append(max(0.0, adapter.steps - (done or 0.0)))
        tolds.append(told if done is not None and done >= FIRST_STEPS else None)
    names, base, units = tuple(unit.name for _, unit in found), found[0][0].base, sum(lefts)
    known = [told for told in tolds if told is not None]
    if not known or units <= 0 or (len(known) < len(found) and not joint):
        return InWork(worker, names, base, True, units)
    told = max(known) if joint else sum(known)
    return InWork(worker, names, base, True, units, told, told / units)


def _answers_in_work(worker: str, found: Sequence[tuple[Cell, UnitStatus]]) -> InWork:
    """The cells of one message that are not answered yet: they share a shard and a progress, which counts prompts."""
    (cell, unit), *_ = found
    progress = unit.progress or {}
    assert unit.last is not None
    whole = float(cell.shard.questions * max(unit.last.group, len(found)))
    units = float(sum(each.shard.questions for each, _ in found))
    done, total = _number(progress, "done"), _number(progress, "total")
    pace = None
    if done is not None and total:
        units = min(units, (total - done) / total * whole)
        speed = _number(progress, "questions_per_second")
        pace = total / whole / speed if speed and done >= FIRST_STEPS else None
    return InWork(worker, tuple(u.name for _, u in found), cell.adapter.base, False, max(0.0, units), None, pace)


def _number(record: Mapping[str, Any], name: str) -> float | None:
    value = record.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
