"""A run as text: folding, words for states, changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cli.screen import RunScreen
from cli.session import FleetSeen
from cli.view import changes, folded, headline, progress_lines, rows, training_text
from nonet.runs.attempt import Attempt, ErrorClass, Outcome
from nonet.runs.plan import BaseModel, Plan, PlannedAdapter, PlannedBase, QuestionSet, Shard
from scheduler.state import Phase, RunState, UnitState, UnitStatus


def unit(name: str, state: UnitState, **more: object) -> UnitStatus:
    return replace(UnitStatus(name, f"key of {name}", "scope", state), **more)  # type: ignore[arg-type]


def ended(outcome: Outcome | None, error_class: ErrorClass | None = None, error: str | None = None) -> Attempt:
    return Attempt("k", 1, "here", "w0@here", "r", "logs/k", 1, 0.0, outcome, error_class, error, 1.0)


def run_state(adapters: Sequence[UnitStatus], shards: int = 4, cell: UnitState = UnitState.WAITING) -> RunState:
    """A run with `adapters` and `shards` shards, the first of them validation, every cell in state `cell`."""
    planned = tuple(PlannedAdapter(a.name, a.key, "d", (), 10, 20, 0) for a in adapters)
    sets = [QuestionSet.VALIDATION, *([QuestionSet.TEST] * (shards - 1))]
    named = tuple(Shard(f"{s}-{i:03d}", s, i, i + 1, 5, f"d{i}") for i, s in enumerate(sets))
    base = PlannedBase("", BaseModel("m", None, "/m", "d"), "transformers", {"max_length": 512}, {})
    plan = Plan("run-1", "run", (base,), {}, {}, {}, planned, named, "s.jsonl")
    cells = tuple(unit(f"{a.name}/{s.name}", cell) for s in named for a in adapters)
    return RunState(plan, Phase.RUNNING, tuple(adapters), cells, None)


@given(st.lists(st.sampled_from(list(UnitState)), min_size=1, max_size=300), st.integers(1, 120))
def test_folding_keeps_the_width_and_never_hides_a_failure(states: list[UnitState], width: int) -> None:
    shown = folded(states, width)
    assert len(shown) == min(len(states), width)
    assert (UnitState.FAILED in shown) == (UnitState.FAILED in states)
    assert (set(shown) == {UnitState.COMMITTED}) == (set(states) == {UnitState.COMMITTED})


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (unit("a", UnitState.COMMITTED), "trained"),
        (unit("a", UnitState.RUNNING, attempts=1), "starting"),
        (
            unit("a", UnitState.RUNNING, progress={"phase": "training", "step": 3, "steps": 9, "loss": 0.5}),
            "training 3/9, loss 0.500",
        ),
        (unit("a", UnitState.RUNNING, attempts=2, lost=2), "its worker is gone"),
        (unit("a", UnitState.READY, attempts=1), "ready"),
        (unit("a", UnitState.QUEUED, attempts=2, last=ended(Outcome.LOST)), "queued (attempt 3)"),
        (unit("a", UnitState.FAILED, last=ended(Outcome.FAILED, ErrorClass.BAD_INPUT)), "failed: bad_input"),
        (unit("a", UnitState.FAILED, last=ended(Outcome.LOST)), "failed: lost"),
    ],
)
def test_training_in_words(found: UnitStatus, text: str) -> None:
    assert training_text(found) == text


def test_rows_hold_their_own_cells() -> None:
    state = run_state([unit("a", UnitState.COMMITTED), unit("b", UnitState.COMMITTED)])
    cells = tuple(
        replace(cell, state=UnitState.COMMITTED) if cell.name.startswith("b/") else cell for cell in state.cells
    )
    first, second = rows(replace(state, cells=cells))
    assert (first.answered, second.answered) == (0, 4)
    assert second.validation == (UnitState.COMMITTED,)
    assert second.test == (UnitState.COMMITTED,) * 3


def test_changes_are_told_once() -> None:
    before = run_state([unit("a", UnitState.READY), unit("b", UnitState.RUNNING, attempts=1)])
    began = unit("a", UnitState.RUNNING, attempts=1, last=ended(None))
    failed = unit("b", UnitState.FAILED, attempts=1, last=ended(Outcome.FAILED, ErrorClass.ENGINE, "no\nway"))
    after = replace(before, adapters=(began, failed))
    assert list(changes(before, after)) == ["a: attempt 1 began on w0@here", "b: failed, engine: no"]
    assert list(changes(after, after)) == []
    queued = replace(before, adapters=(unit("a", UnitState.QUEUED), before.adapters[1]))
    assert list(changes(before, queued)) == []


def test_a_retry_is_a_change() -> None:
    failing = unit("a", UnitState.RUNNING, attempts=1, last=ended(None))
    again = unit("a", UnitState.QUEUED, attempts=1, last=ended(Outcome.LOST, ErrorClass.WORKER_LOST))
    before, after = run_state([failing]), run_state([again])
    assert list(changes(before, after)) == ["a: queued again after attempt 1: worker_lost"]


def test_progress_of_cells_is_told_once_a_shard() -> None:
    progress = {"phase": "answering", "done": 5, "total": 20}
    state = run_state([unit("a", UnitState.COMMITTED), unit("b", UnitState.COMMITTED)], shards=2)
    cells = tuple(
        replace(c, state=UnitState.RUNNING, progress=progress) if c.name.endswith("test-001") else c
        for c in state.cells
    )
    assert list(progress_lines(replace(state, cells=cells))) == ["test-001: 2 adapters, answering 5/20"]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_screen_fits_its_width(width: int) -> None:
    progress = {"phase": "training", "step": 120, "steps": 300, "loss": 0.91, "seconds_left": 41.0}
    adapters = [unit(f"a-mix-with-a-name-{i}", UnitState.RUNNING, attempts=1, progress=progress) for i in range(9)]
    state = run_state(adapters, shards=140, cell=UnitState.READY)
    console = Console(width=width, force_terminal=True, no_color=True, color_system=None)
    with console.capture() as capture:
        console.print(RunScreen(state, FleetSeen.REACHABLE))
    lines = capture.get().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert sum("a-mix" in line for line in lines) == 9
    assert all("0 %" in line for line in lines if "a-mix" in line)
    assert headline(state).startswith("adapters: 0 of 9 trained, 9 running")


def test_a_terminal_without_unicode_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    state = run_state([unit("a", UnitState.COMMITTED)], cell=UnitState.COMMITTED)
    console = Console(width=100, force_terminal=True, color_system=None)
    monkeypatch.setattr(type(console), "encoding", "ascii")
    with console.capture() as capture:
        console.print(RunScreen(state, FleetSeen.UNKNOWN))
    assert capture.get().isascii()
    assert "###" in capture.get()
    assert "nonet up" in capture.get()
