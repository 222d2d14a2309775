"""A run as text: marks, grid rows, headlines, changes. Pure: knows a run's state, no terminal and no storage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from nonet.plural import counted
from nonet.runs.attempt import Attempt
from nonet.runs.plan import QuestionSet, Shard
from scheduler.state import Phase, RunState, UnitState, UnitStatus
from tasks.progress import describe


@dataclass(frozen=True, slots=True)
class Mark:
    """How a cell shows: one character, its ASCII stand-in, a style for rich."""

    symbol: str
    ascii: str
    style: str


MARKS = {
    UnitState.COMMITTED: Mark("■", "#", "green"),
    UnitState.RUNNING: Mark("▶", ">", "bold magenta"),
    UnitState.QUEUED: Mark("○", "o", ""),
    UnitState.READY: Mark("○", "o", ""),
    UnitState.WAITING: Mark("·", ".", "dim"),
    UnitState.FAILED: Mark("✗", "x", "bold red"),
}
LEGEND = (
    (UnitState.COMMITTED, "answered"),
    (UnitState.RUNNING, "answering"),
    (UnitState.QUEUED, "queued"),
    (UnitState.WAITING, "waits for its adapter"),
    (UnitState.FAILED, "failed"),
)
_WORST_FIRST = (
    UnitState.FAILED,
    UnitState.RUNNING,
    UnitState.QUEUED,
    UnitState.READY,
    UnitState.WAITING,
    UnitState.COMMITTED,
)
PHASE_STYLES = {
    Phase.RUNNING: "bold magenta",
    Phase.COMPLETE: "bold green",
    Phase.BLOCKED: "bold red",
    Phase.CANCELLED: "bold",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One adapter of the grid: how its training stands, and the states of its cells by question set."""

    name: str
    training: str
    state: UnitState
    validation: tuple[UnitState, ...]
    test: tuple[UnitState, ...]
    answered: int


def rows(state: RunState) -> tuple[Row, ...]:
    """The grid, one row an adapter, in the plan's order."""
    return tuple(_row(state, index, unit) for index, unit in enumerate(state.adapters))


def _row(state: RunState, index: int, unit: UnitStatus) -> Row:
    found = [cell.state for cell in state.cells[index :: len(state.adapters)]]
    cells = list(zip(state.plan.shards, found, strict=True))
    return Row(
        name=unit.name,
        training="imported" if _imported(state, index, unit) else training_text(unit),
        state=unit.state,
        validation=_of_set(cells, QuestionSet.VALIDATION),
        test=_of_set(cells, QuestionSet.TEST),
        answered=found.count(UnitState.COMMITTED),
    )


def _imported(state: RunState, index: int, unit: UnitStatus) -> bool:
    return state.plan.adapters[index].imported is not None and unit.state is UnitState.COMMITTED


def _of_set(cells: Iterable[tuple[Shard, UnitState]], wanted: QuestionSet) -> tuple[UnitState, ...]:
    return tuple(found for shard, found in cells if shard.set is wanted)


def folded(states: Sequence[UnitState], width: int) -> tuple[UnitState, ...]:
    """`states` in at most `width` marks: each stands for its share of them and shows what most needs a look."""
    return tuple(worst(states[start:stop]) for start, stop in shares(len(states), width))


def shares(count: int, width: int) -> tuple[tuple[int, int], ...]:
    """`count` things in at most `width` parts of much the same size: (start, stop) of each."""
    edges = [round(at * count / min(count, width)) for at in range(min(count, width) + 1)] if count else []
    return tuple(pairwise(edges))


def worst(states: Collection[UnitState]) -> UnitState:
    """The state among `states` that most needs a look."""
    return next(found for found in _WORST_FIRST if found in states)


def training_text(unit: UnitStatus) -> str:
    """How an adapter stands: `training 120/300, loss 0.912, 41 s left`, `failed: bad_input`."""
    text = {
        UnitState.COMMITTED: "trained",
        UnitState.RUNNING: describe(unit.progress) if unit.progress else "starting",
        UnitState.QUEUED: "queued",
        UnitState.READY: "ready",
        UnitState.WAITING: "waiting",
        UnitState.FAILED: f"failed: {cause(unit.last)}",
    }[unit.state]
    if unit.state is UnitState.RUNNING and unit.lost is not None:
        return "its worker is gone"
    again = unit.attempts > 1 and unit.state in (UnitState.RUNNING, UnitState.READY, UnitState.QUEUED)
    return f"{text} (attempt {unit.attempts + (unit.state is not UnitState.RUNNING)})" if again else text


def cause(attempt: Attempt | None) -> str:
    """Why an attempt failed, in a word or two."""
    if attempt is None or attempt.outcome is None:
        return "unknown"
    return (attempt.error_class or attempt.outcome).value


def counts_text(units: Iterable[UnitStatus], done: str) -> str:
    """`12 of 40 answered, 3 running, 1 failed`."""
    counts = Counter(unit.state for unit in units)
    parts = [f"{counts[UnitState.COMMITTED]} of {counts.total()} {done}"]
    for found in (UnitState.RUNNING, UnitState.QUEUED, UnitState.FAILED):
        if counts[found]:
            parts.append(f"{counts[found]} {found.value}")
    return ", ".join(parts)


def headline(state: RunState) -> str:
    """One line on a run as a whole."""
    parts = [f"adapters: {counts_text(state.adapters, 'trained')}", f"cells: {counts_text(state.cells, 'answered')}"]
    parts.append(f"vote: {state.vote.state if state.vote else 'waiting'}")
    return "; ".join(parts)


def failures(state: RunState, run: str, most: int = 8) -> Iterator[str]:
    """A line for each failed unit: its name, attempts, class and error, and where to read more."""
    for unit in state.failed[:most]:
        error = ((unit.last.error if unit.last else None) or "no message").splitlines()[0]
        yield f"{unit.name}: {attempts_text(unit.attempts)}, {cause(unit.last)}: {error}"
    if len(state.failed) > most:
        yield f"and {len(state.failed) - most} more: nonet status {run}"
    if state.failed:
        yield f"why: nonet logs {run} {state.failed[0].name}; once it is mended: nonet rerun {run} --failed"


def attempts_text(count: int) -> str:
    return counted(count, "attempt")


def changes(before: RunState | None, after: RunState) -> Iterator[str]:
    """One line for each unit whose state is another than `before`, and for the run's own phase."""
    known = {unit.key: unit for unit in before.units} if before else {}
    for unit in after.units:
        old = known.get(unit.key)
        if (old is None and _quiet(unit)) or (old is not None and _same(old, unit)):
            continue
        yield f"{unit.name}: {change_text(unit)}"
    if before is None or before.phase is not after.phase:
        yield f"run {after.plan.run}: {after.phase.value}; {headline(after)}"


def change_text(unit: UnitStatus) -> str:
    """What has become of a unit, in words."""
    if unit.state is UnitState.RUNNING:
        worker = f" on {unit.last.worker}" if unit.last else ""
        return f"attempt {unit.attempts} began{worker}"
    if unit.state is UnitState.FAILED and unit.last is not None:
        return f"failed, {cause(unit.last)}: {(unit.last.error or 'no message').splitlines()[0]}"
    if unit.state in (UnitState.READY, UnitState.QUEUED) and unit.last is not None and unit.last.outcome is not None:
        return f"{unit.state.value} again after attempt {unit.last.epoch}: {cause(unit.last)}"
    return unit.state.value


def _quiet(unit: UnitStatus) -> bool:
    """Whether a unit that is seen for the first time is not worth a line."""
    return unit.state in (UnitState.WAITING, UnitState.READY, UnitState.QUEUED)


def _same(old: UnitStatus, new: UnitStatus) -> bool:
    waiting = (UnitState.WAITING, UnitState.READY, UnitState.QUEUED)
    if old.state in waiting and new.state in waiting:
        return old.attempts == new.attempts
    return old.state is new.state and old.attempts == new.attempts


def progress_lines(state: RunState) -> Iterator[str]:
    """A line for each unit that works and has told how far it is; cells of one message share theirs."""
    for unit in state.adapters:
        if unit.state is UnitState.RUNNING and unit.progress:
            yield f"{unit.name}: {describe(unit.progress)}"
    answering = [unit for unit in state.cells if unit.state is UnitState.RUNNING and unit.progress]
    for shard, group in groupby(answering, key=lambda unit: unit.name.rpartition("/")[2]):
        found = list(group)
        yield f"{shard}: {counted(len(found), 'adapter')}, {describe(found[0].progress or {})}"
