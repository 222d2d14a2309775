"""The validation split: by stem, seeded, whatever the order of the rows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.questions.problem import Problem, Question
from nonet.questions.split import normal_stem, split_by_stem


def problem(row_id: str, stem: str) -> Problem:
    return Problem(row_id, stem, (Question(row_id, 0, "?", ("是", "否"), "A"),))


def rows(*stems: str) -> list[Problem]:
    return [problem(f"row_{at}", stem) for at, stem in enumerate(stems)]


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=40), st.floats(0.01, 0.99), st.integers(0, 9))
def test_no_stem_is_on_both_sides_and_no_row_is_lost(stems: list[str], fraction: float, seed: int) -> None:
    problems = rows(*stems)
    if len(set(stems)) < 2:
        with pytest.raises(ValueError, match="cannot be split"):
            split_by_stem(problems, fraction, seed)
        return
    train, validation = split_by_stem(problems, fraction, seed)
    assert train
    assert validation
    assert not {problem.stem for problem in train} & {problem.stem for problem in validation}
    assert sorted(train + validation, key=problems.index) == problems
    assert list(train) == sorted(train, key=problems.index)
    assert list(validation) == sorted(validation, key=problems.index)


@settings(deadline=None)
@given(st.permutations([problem(f"row_{at}", f"题{at % 20}") for at in range(30)]))
def test_the_order_of_rows_changes_nothing(problems: list[Problem]) -> None:
    found = {row.id for row in split_by_stem(problems, 0.2, 3)[1]}
    expected = {row.id for row in split_by_stem(sorted(problems, key=lambda row: row.id), 0.2, 3)[1]}
    assert found == expected


def test_the_fraction_counts_problems() -> None:
    assert len(split_by_stem(rows(*map(str, range(500))), 0.1, 0)[1]) == 50
    assert len(split_by_stem(rows("a", "b"), 0.01, 0)[1]) == 1
    assert len(split_by_stem(rows("a", "b"), 0.99, 0)[0]) == 1


def test_the_seed_chooses() -> None:
    problems = rows(*map(str, range(50)))
    chosen = {tuple(row.id for row in split_by_stem(problems, 0.2, seed)[1]) for seed in range(5)}
    assert len(chosen) == 5
    assert split_by_stem(problems, 0.2, 1) == split_by_stem(problems, 0.2, 1)


def test_a_stem_that_is_written_differently_stays_on_one_side() -> None:
    ways = ["甲说：乙是骗子。", "甲说:乙是骗子。", "甲说：\n 乙是骗子。", "\ufeff甲说：乙是骗子。\u200b"]
    assert len({normal_stem(way) for way in ways}) == 1
    problems = rows(*ways, *(f"别的{at}" for at in range(8)))
    for seed in range(20):
        validation = split_by_stem(problems, 0.3, seed)[1]
        assert sum(row.stem in ways for row in validation) in (0, len(ways))


def test_different_stems_stay_different() -> None:
    assert normal_stem("甲大于乙") != normal_stem("乙大于甲")
    assert normal_stem("a-b") != normal_stem("ab")


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        split_by_stem(rows("a", "b"), fraction, 0)


def test_the_split_is_pinned() -> None:
    """Another choice for the same seed would silently change every run: it must be a decision."""
    train, validation = split_by_stem(rows(*(f"题{at}" for at in range(10))), 0.3, 0)
    assert [row.id for row in validation] == ["row_1", "row_5", "row_7"]
    assert len(train) == 7
