"""The pace of running work, and where a gauge comes from that is told once a worker."""

from __future__ import annotations

from tasks.pace import WINDOW_SECONDS, Pace


def event(phase: str = "answering", **counts: object) -> dict[str, object]:
    return {"phase": phase, **counts}


def test_a_pace_needs_two_events_of_one_phase() -> None:
    pace = Pace()
    assert pace.rates(event("loading", questions=0), 0.0) == {}
    assert pace.rates(event(questions=0, tokens=0), 1.0) == {}
    assert pace.rates(event(questions=6, tokens=300), 3.0) == {"questions_per_second": 3.0, "tokens_per_second": 150.0}
    assert pace.rates(event("training", tokens=10), 4.0) == {}


def test_a_pace_forgets_what_is_old() -> None:
    pace = Pace()
    rates = {}
    for second in range(100):
        count = second * 10 if second < 60 else 600
        rates = pace.rates(event(tokens=count), float(second))
    assert rates == {"tokens_per_second": 0.0}
    assert WINDOW_SECONDS < 40


def test_a_resumed_training_counts_from_where_it_resumed() -> None:
    pace = Pace()
    pace.rates(event("training", tokens=100_000), 10.0)
    assert pace.rates(event("training", tokens=100_500), 15.0) == {"tokens_per_second": 100.0}


def test_what_is_no_count_is_left_out() -> None:
    pace = Pace()
    pace.rates(event(questions=None, tokens="x"), 0.0)
    assert pace.rates(event(questions=1, tokens=1), 1.0) == {}
