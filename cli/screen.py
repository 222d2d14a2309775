"""A run on a terminal: the live grid and the tables, drawn with rich. Knows looks, not what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from cli.session import FleetSeen, waiting_note
from cli.view import LEGEND, MARKS, PHASE_STYLES, Row, failures, folded, headline, rows
from scheduler.state import RunState, UnitState

_WIDE = 160
"""Columns where nobody reads on a screen: a file, a pipe."""


def console(*, stderr: bool = False) -> Console:
    """The terminal, or a wide page where there is none."""
    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=_WIDE)


class RunScreen:
    """A run's state as something that rich can draw at any width."""

    def __init__(self, state: RunState, seen: FleetSeen, hint: str | None = None, left: Sequence[str] = ()) -> None:
        self._left = left
        self._state = state
        self._seen = seen
        self._hint = hint

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        state, run = self._state, self._state.plan.run
        phase = Text.assemble((run, "bold"), "  ", (state.phase.value, PHASE_STYLES[state.phase]))
        parts: list[Text | Table] = [phase, Text(headline(state), "dim"), _grid(state, options)]
        parts.append(_legend(options.ascii_only))
        parts += [Text(line) for line in self._left]
        parts += [Text(line, "red") for line in failures(state, run)]
        note = waiting_note(self._seen, state.phase)
        if note:
            parts.append(Text(note, "bold"))
        if self._hint:
            parts.append(Text(self._hint, "dim"))
        yield Group(*parts)


@dataclass(frozen=True, slots=True)
class Widths:
    """Columns of the grid, in characters; `validation` and `test` are marks."""

    name: int
    training: int
    validation: int
    test: int


_DONE = 5
_GAP = 2
_FEWEST_MARKS = 12
_TRAINING = 44


def widths(found: Sequence[Row], total: int) -> Widths:
    """Columns that fit into `total` characters: the training's words come first, then the marks take what is left."""
    name = min(24, max(len("adapter"), *(len(row.name) for row in found)))
    longest = min(_TRAINING, max(len("training"), *(len(row.training) for row in found)))
    validation, test = len(found[0].validation), len(found[0].test)
    left = total - name - _DONE - _GAP * (4 if validation else 3)
    cells = min(validation + test, max(_FEWEST_MARKS, left - longest))
    share = min(validation, max(3, cells * validation // max(1, validation + test)))
    return Widths(name, max(8, min(longest, left - cells)), share, cells - share)


def _grid(state: RunState, options: ConsoleOptions) -> Table:
    """One row an adapter: training, then a mark for each shard (or for some shards together where it is narrow)."""
    found = rows(state)
    fit = widths(found, options.max_width)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    table.add_column("adapter", no_wrap=True, width=fit.name)
    table.add_column("training", no_wrap=True, width=fit.training)
    if fit.validation:
        header = "validation" if fit.validation >= len("validation") else "val"
        table.add_column(header, no_wrap=True, width=max(3, fit.validation))
    table.add_column("test", no_wrap=True, width=max(4, fit.test))
    table.add_column("done", justify="right", no_wrap=True, width=_DONE)
    for row in found:
        cells = [marks(folded(row.test, fit.test), options.ascii_only)]
        if fit.validation:
            cells.insert(0, marks(folded(row.validation, fit.validation), options.ascii_only))
        done = f"{100 * row.answered // max(1, len(row.validation) + len(row.test))} %"
        table.add_row(row.name, Text(row.training, MARKS[row.state].style), *cells, done)
    return table


def marks(states: Sequence[UnitState], ascii_only: bool) -> Text:
    """A mark for each state."""
    text = Text()
    for found in states:
        mark = MARKS[found]
        text.append(mark.ascii if ascii_only else mark.symbol, mark.style)
    return text


def _legend(ascii_only: bool) -> Text:
    text = Text()
    for found, word in LEGEND:
        text.append_text(marks([found], ascii_only)).append(f" {word}   ", "dim")
    return text
