"""The grid as the page shows it: a row an adapter, a box a cell, or a box for some cells together where there are many.

Pure: knows a run's state, no storage and no markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cli.view import LEGEND, MARKS, shares, training_text, worst
from nonet.plan import QuestionSet
from scheduler.state import RunState, UnitState, UnitStatus

MOST_BOXES = 600
"""Up to so many cells each has a box of its own."""
FOLDED = 24
"""Most boxes a row has in one question set, where there are more cells than that."""
ROWS = 50
"""Most rows of one view; the next ones are on the next view."""
_WORDS = dict(LEGEND) | {UnitState.READY: "queued"}


@dataclass(frozen=True, slots=True)
class Box:
    """One box: the state that most needs a look, what it stands for in words, and the cell that it leads to."""

    state: UnitState
    text: str
    key: str

    @property
    def symbol(self) -> str:
        return MARKS[self.state].symbol


@dataclass(frozen=True, slots=True)
class GridRow:
    """One adapter: its unit, how its training stands, its boxes by question set, and answered cells of all."""

    unit: UnitStatus
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
    cells = [(shard.set, state.cell_at(at, index)) for index, shard in enumerate(state.plan.shards)]
    own = {each: [unit for found, unit in cells if found is each] for each in QuestionSet}
    return GridRow(
        unit=state.adapters[at],
        training=training_text(state.adapters[at]),
        validation=_boxes(own[QuestionSet.VALIDATION], folded),
        test=_boxes(own[QuestionSet.TEST], folded),
        answered=sum(unit.state is UnitState.COMMITTED for _, unit in cells),
        cells=len(cells),
    )


def _boxes(units: Sequence[UnitStatus], folded: bool) -> tuple[Box, ...]:
    parts = shares(len(units), FOLDED if folded else len(units))
    return tuple(_box(units[start:stop]) for start, stop in parts)


def _box(units: Sequence[UnitStatus]) -> Box:
    found = worst([unit.state for unit in units])
    shown = next(unit for unit in units if unit.state is found)
    if len(units) == 1:
        return Box(found, f"{shown.name}: {_WORDS[found]}", shown.key)
    counts = Counter(_WORDS[unit.state] for unit in units)
    text = ", ".join(f"{count} {word}" for word, count in counts.items())
    return Box(found, f"{units[0].name} to {units[-1].name.rpartition('/')[2]}: {text}", shown.key)
