"""Trees and their packs: whatever the prompts, each reads in a pack what it reads alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.adapters.tree import PADDING, STEM, Branch, Pack, Tree, packs, sees, tree_of

Prompts = list[list[int]]
TOKENS = st.integers(1, 3)
"""Few tokens, so that beginnings are alike by chance as well."""


@st.composite
def problems(draw: st.DrawFn) -> Prompts:
    stem = draw(st.lists(TOKENS, max_size=8))
    rests = draw(st.lists(st.lists(TOKENS, min_size=1, max_size=5), min_size=1, max_size=4))
    return [stem + rest for rest in rests]


def read_at(pack: Pack, row: int, column: int) -> tuple[list[int], list[int]]:
    """The tokens that one token sees, and their positions."""
    seen = [other for other in range(pack.width) if sees(pack, row, column, other)]
    return [pack.ids[row][at] for at in seen], [pack.positions[row][at] for at in seen]


def test_the_stem_is_what_all_prompts_begin_with() -> None:
    tree = tree_of([[1, 2, 3, 4], [1, 2, 5], [1, 2, 3, 9]])
    assert tree == Tree((1, 2), (Branch((3, 4)), Branch((5,)), Branch((3, 9))))
    assert tree.tokens == 7


@pytest.mark.parametrize(
    ("prompts", "stem", "branches"),
    [
        ([[1, 2]], (1,), [(2,)]),  # one question
        ([[7]], (), [(7,)]),  # of one token
        ([[1, 2], [3, 4]], (), [(1, 2), (3, 4)]),  # nothing in common
        ([[1, 2, 3], [1, 2]], (1,), [(2, 3), (2,)]),  # one begins the other
        ([[1, 2], [1, 2], [1, 2]], (1,), [(2,), (2,), (2,)]),  # the same
    ],
)
def test_every_prompt_keeps_a_branch(prompts: Prompts, stem: tuple[int, ...], branches: list[tuple[int, ...]]) -> None:
    tree = tree_of(prompts)
    assert (tree.stem, [branch.ids for branch in tree.branches]) == (stem, branches)


def test_answer_places_stay_in_their_branch() -> None:
    """In training a prompt ends in its reply, of whose tokens each has an answer place before it."""
    tree = tree_of([[1, 2, 3, 4], [1, 2, 3, 5]], answers=[3, 1])
    assert tree == Tree((1,), (Branch((2, 3, 4), 3), Branch((2, 3, 5), 1)))
    (pack,) = packs([tree], 100)
    assert [(place.branch, place.column) for place in pack.places] == [(0, 1), (0, 2), (0, 3), (1, 6)]


@pytest.mark.parametrize(
    ("prompts", "answers"), [([], None), ([[1], []], None), ([[1, 2]], [3]), ([[1, 2]], [0]), ([[1], [1]], [1])]
)
def test_what_is_no_tree(prompts: Prompts, answers: list[int] | None) -> None:
    with pytest.raises(ValueError, match=r"make no tree|cannot have"):
        tree_of(prompts, answers)


@given(st.lists(problems(), min_size=1, max_size=6), st.integers(1, 60), st.data())
def test_each_prompt_reads_in_a_pack_what_it_reads_alone(
    given_: list[Prompts], budget: int, data: st.DataObject
) -> None:
    answers = [[data.draw(st.integers(1, len(prompt))) for prompt in prompts] for prompts in given_]
    owners = data.draw(st.lists(st.integers(0, 2), min_size=len(given_), max_size=len(given_)))
    trees = [tree_of(prompts, wanted) for prompts, wanted in zip(given_, answers, strict=True)]
    found: dict[tuple[int, int], list[tuple[list[int], list[int]]]] = {}
    for pack in packs(trees, budget, owners):
        check_form(pack, trees, owners, budget)
        for place in pack.places:
            found.setdefault((place.tree, place.branch), []).append(read_at(pack, place.row, place.column))
    for number, prompts in enumerate(given_):
        for branch, prompt in enumerate(prompts):
            count = answers[number][branch]
            ends = range(len(prompt) - count + 1, len(prompt) + 1)
            assert found.pop((number, branch)) == [(prompt[:end], list(range(end))) for end in ends]
    assert not found, "every branch once"


def check_form(pack: Pack, trees: Sequence[Tree], owners: Sequence[int], budget: int) -> None:
    """A rectangle within the budget or with a single branch; owners in order; padding that only sees padding."""
    assert {len(row) for rows in (pack.ids, pack.positions, pack.segments, pack.branches) for row in rows} == {
        pack.width
    }
    alone = [segment for segment in pack.laid if len(segment.branches) == 1]
    assert len(pack.ids) * pack.width <= budget or pack.laid == tuple(alone[:1])
    assert list(pack.owners) == sorted(pack.owners)
    for number, segment in enumerate(pack.laid):
        assert pack.owners[segment.row] == owners[segment.tree]
        stem = len(trees[segment.tree].stem)
        assert list(pack.positions[segment.row][segment.column : segment.column + stem]) == list(range(stem))
        assert set(pack.branches[segment.row][segment.column : segment.column + stem]) <= {STEM}
        assert pack.segments[segment.row].count(number) == stem + sum(
            len(trees[segment.tree].branches[branch].ids) for branch in segment.branches
        )
    for row, segments in enumerate(pack.segments):
        for column in range(pack.width):
            assert sees(pack, row, column, column)
            if segments[column] == PADDING:
                assert {pack.ids[row][at] for at in range(pack.width) if sees(pack, row, column, at)} == {0}


def test_the_longest_come_first_and_rows_are_filled() -> None:
    trees = [tree_of([[*range(length), last] for last in (1, 2)]) for length in (3, 18, 8, 18)]
    first, second = packs(trees, 45)
    assert [[(s.tree, s.row, s.column) for s in pack.laid] for pack in (first, second)] == [
        [(1, 0, 0), (3, 1, 0)],
        [(2, 0, 0), (0, 1, 0)],
    ]
    (whole,) = packs(trees, 60)
    assert [(s.tree, s.row, s.column) for s in whole.laid] == [(1, 0, 0), (3, 1, 0), (2, 2, 0), (0, 2, 10)]
    assert (whole.width, whole.tokens) == (20, 55)


def test_a_tree_beyond_the_budget_repeats_its_stem() -> None:
    tree = tree_of([[1, 1, 1, 1, question] for question in (2, 3, 4)])
    laid = [segment for pack in packs([tree], 6) for segment in pack.laid]
    assert [segment.branches for segment in laid] == [(0, 1), (2,)]
    assert [len(pack.ids) * pack.width for pack in packs([tree], 1)] == [5, 5, 5], "a branch is never cut"


def test_a_budget_holds_something() -> None:
    with pytest.raises(ValueError, match="a budget of 0 tokens holds nothing"):
        packs([tree_of([[1]])], 0)
