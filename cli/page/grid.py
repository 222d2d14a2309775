"""The grid as the page shows it: a row an adapter, a box a cell, or a box for some cells together where there are many.

Pure: knows a run's state, no storage and no markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cli.view import LEGEND, MARKS, shares, training_text, worst
from nonet.runs.plan import QuestionSet
from scheduler.state import RunState, UnitState, UnitStatus

MOST_BOXES = 600
"""Up to so many cells each has a box of its own."""
FOLDED = {QuestionSet.VALIDATION: 8, QuestionSet.TEST: 24}
"""Most boxes of a row in each question set, where there are more cells than that."""
ROWS = 50
"""Most rows of one view; the next ones are on the next view."""
WORDS = dict(LEGEND) | {UnitState.READY: "queued"}


@dataclass(frozen=True, slots=True)
class Box:
    """One box: the state that most needs a look, what it stands for in words, the cell in that state, and `shards`
    (start, stop) where it stands for several."""

    state: UnitState
    text: str
    key: str
    shards: tuple[int, int] | None = None

    @property
    def symbol(self) -> str:
        return MARKS[self.state].symbol


@dataclass(frozen=True, slots=True)
class GridRow:
    """One adapter: its unit, how its training stands, its boxes by question set, and answered cells of all."""

    unit: UnitStatus
    at: int
    training: str
    validation: tuple[Box, ...]
    test: tuple[Box, ...]
    answered: int
    cells: int


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows `start` to `stop` (exclusive) of `adapters`; `folded` where a box stands for several cells."""

    rows: tuple[GridRow, ...]
    start: int
    adapters: int
    folded: bool

    @property
    def stop(self) -> int:
        return self.start + len(self.rows)


def grid_of(state: RunState, start: int = 0) -> Grid:
    """The grid from the adapter at position `start` on."""
    start = max(0, min(start, len(state.adapters) - 1))
    shown = range(start, min(start + ROWS, len(state.adapters)))
    folded = len(shown) * len(state.plan.shards) > MOST_BOXES
    return Grid(tuple(_row(state, at, folded) for at in shown), start, len(state.adapters), folded)


def _row(state: RunState, at: int, folded: bool) -> GridRow:
    cells = [state.cell_at(at, index) for index in range(len(state.plan.shards))]
    own = {}
    for each, width in FOLDED.items():
        of_set = [(index, cells[index]) for index, shard in enumerate(state.plan.shards) if shard.set is each]
        own[each] = _boxes(of_set, width if folded else len(cells))
    return GridRow(
        unit=state.adapters[at],
        at=at,
        training=training_text(state.adapters[at]),
        validation=own[QuestionSet.VALIDATION],
        test=own[QuestionSet.TEST],
        answered=sum(unit.state is UnitState.COMMITTED for unit in cells),
        cells=len(cells),
    )


def _boxes(cells: Sequence[tuple[int, UnitStatus]], width: int) -> tuple[Box, ...]:
    """`cells` are (position of the shard, cell); the shards of a question set lie together in a plan."""
    return tuple(_box(cells[start:stop]) for start, stop in shares(len(cells), width))


def _box(cells: Sequence[tuple[int, UnitStatus]]) -> Box:
    units = [unit for _, unit in cells]
    found = worst([unit.state for unit in units])
    shown = next(unit for unit in units if unit.state is found)
    if len(units) == 1:
        return Box(found, f"{shown.name}: {WORDS[found]}", shown.key)
    counts = Counter(WORDS[unit.state] for unit in units)
    text = ", ".join(f"{count} {word}" for word, count in counts.items())
    return Box(
        found,
        f"{units[0].name} to {units[-1].name.rpartition('/')[2]}: {text}",
        shown.key,
        (cells[0][0], cells[-1][0] + 1),
    )
