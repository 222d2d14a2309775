"""What the page shows of a large run, and how guessing is slowed: pure, without a server."""

from __future__ import annotations

from dataclasses import replace

from cli.page.figures import NARROWEST, WIDTH, timeline_of
from cli.page.grid import FOLDED, MOST_BOXES, grid_of
from cli.page.throttle import GUESSES, WINDOW_SECONDS, Throttle
from nonet.report.timeline import Span, Unit, Work
from nonet.runs.attempt import Attempt, ErrorClass, Outcome
from nonet.runs.plan import QuestionSet
from scheduler.state import UnitState
from tests.unit.test_cli_view import run_state, unit


def test_guessing_is_slowed() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for _ in range(GUESSES):
        assert throttle.wait("a") == 0
        throttle.guess("a")
    assert throttle.wait("a") == WINDOW_SECONDS
    assert throttle.wait("b") == 0
    now[0] = WINDOW_SECONDS
    assert throttle.wait("a") == 0


def test_a_large_grid_is_folded_and_hides_no_failure() -> None:
    state = run_state([unit(f"a{at:03d}", UnitState.COMMITTED) for at in range(120)], shards=1001)
    cells = list(state.cells)
    cells[500 * 120 + 7] = unit("a007/test-499", UnitState.FAILED)
    grid = grid_of(replace(state, cells=tuple(cells)))
    assert (grid.folded, grid.adapters, grid.stop) == (True, 120, 50)
    assert all(len(row.test) == FOLDED[QuestionSet.TEST] for row in grid.rows)
    (bad,) = [box for row in grid.rows for box in row.test if box.state is UnitState.FAILED]
    assert "1 failed" in bad.text
    assert bad.key == "key of a007/test-499"
    assert bad.shards is not None
    assert bad.shards[0] <= 500 < bad.shards[1]
    assert len(grid_of(state, 100).rows) == 20
    small = grid_of(run_state([unit("a", UnitState.COMMITTED)], shards=MOST_BOXES))
    assert (small.folded, len(small.rows[0].test)) == (False, MOST_BOXES - 1)


def test_many_short_attempts_become_few_bars() -> None:
    def span(at: int) -> Span:
        attempt = Attempt(f"k{at}", 1, "h", "w@h", "r", "log", 1, float(at), Outcome.COMMITTED, None, None, at + 0.9)
        return Span(Unit(f"k{at}", f"cell {at}", Work.INFER), attempt, float(at), at + 0.9)

    spans = [span(at) for at in range(10_000)]
    lost = Attempt("bad", 1, "h", "w@h", "r", "log", 1, 0, Outcome.LOST, ErrorClass.WORKER_LOST, "gone", 20_000.0)
    spans.append(Span(Unit("bad", "bad", Work.INFER), lost, 10_001.0, 20_000.0))
    figure = timeline_of(spans, 20_000.0)
    assert figure is not None
    (lane,) = figure.lanes
    assert len(lane.bars) <= WIDTH / NARROWEST
    assert sum(bar.count for bar in lane.bars) == 10_001
    assert [bar.kind for bar in lane.bars][-1] == "bad"
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH + NARROWEST for bar in lane.bars)
