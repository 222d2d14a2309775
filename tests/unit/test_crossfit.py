"""The guard: folds by stem, cross-fitting, the comparison of all ways, pairs."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from nonet.voting.comparison import compare, specs
from nonet.voting.crossfit import FOLDS, answers_of, cross_fitted, estimate
from nonet.voting.labelled import Labelled
from nonet.voting.pairs import VOTE, pair_between, pairs_of
from nonet.voting.score import Score
from nonet.voting.statistics import mcnemar
from nonet.voting.vote import VoteSpec
from nonet.voting.voters import choose_voters, measured
from tests.unit.electorate import drawn, hand_made

EQUALS = dict.fromkeys((f"m{at:02d}" for at in range(12)), 0.6)


def test_no_stem_is_in_two_folds_and_every_question_in_one() -> None:
    known = drawn(50, {"a": 1.0}, each=3)
    folds = known.folds(FOLDS)
    assert len(folds) == FOLDS
    assert sorted(q for _, fold in folds for q in fold.gold) == sorted(known.gold)
    for rest, fold in folds:
        assert not set(rest.stems.values()) & set(fold.stems.values())
        assert rest.gold.keys() | fold.gold.keys() == known.gold.keys()
    again = Labelled(dict(reversed([*known.letters.items()])), known.gold, known.stems, {})
    assert [set(fold.gold) for _, fold in again.folds(FOLDS)] == [set(fold.gold) for _, fold in folds]
    assert drawn(3, {"a": 1.0}, each=3).folds(FOLDS) == ()
    assert len(drawn(3, {"a": 1.0}, each=1).folds(FOLDS)) == 3


def test_selecting_among_equals_looks_better_than_it_is() -> None:
    """Twelve members of the same skill: what the best of them seems to gain is chance. The naive estimate shows that
    gain, the cross-fitted one does not; three thousand new questions tell what the skill is worth.
    """
    true = drawn(3000, {"a": 0.6}, seed=99).accuracy("a")
    assert true is not None
    spec = VoteSpec("majority", 1, "validation")
    naive, fair = 0.0, 0.0
    for seed in range(10):
        known = drawn(60, EQUALS, seed)
        members = measured(list(EQUALS), known)
        found = estimate(spec, members, choose_voters(spec, members, known), known)
        assert found.naive is not None
        assert found.cross_fitted is not None
        naive += (found.naive.accuracy or 0.0) / 10
        fair += (found.cross_fitted.accuracy or 0.0) / 10
    assert naive > true + 0.05
    assert abs(fair - true) < 0.04


def test_where_nothing_is_fitted_both_estimates_are_one() -> None:
    known = drawn(40, {"a": 1.0, "b": 1.5})
    members = measured(["a", "b"], known)
    for spec in (VoteSpec(), VoteSpec("soft"), VoteSpec(select=("b",)), VoteSpec(members=2, select="validation")):
        found = estimate(spec, members, choose_voters(spec, members, known), known)
        assert found.naive == found.cross_fitted
        assert found.naive is not None


def test_no_estimate_without_ballots_or_stems() -> None:
    known = drawn(3, {"a": 1.0, "b": 1.5}, each=3)
    members = measured(["a", "b"], known)
    weighted = VoteSpec("weighted")
    found = estimate(weighted, members, choose_voters(weighted, members, known), known)
    assert found.naive is not None
    assert found.cross_fitted is None
    assert cross_fitted(weighted, ["a", "b"], known) is None
    bare = Labelled({}, {}, {}, {})
    assert estimate(VoteSpec(), members, members, bare).to_json() == {"naive": None, "cross_fitted": None, "folds": 5}


def test_the_comparison_holds_every_way() -> None:
    skills = {"a": 2.0, "b": 1.5, "c": 1.5, "d": 0.2}
    known, test = drawn(30, skills), drawn(40, skills, seed=7)
    found = compare(list(skills), known, test)
    assert [way.spec for way in found.ways] == list(specs(4, 3, soft=True))
    assert len(found.ways) == 12
    assert found.best.voters[0].name == max(skills, key=lambda name: known.accuracy(name) or 0)
    assert found.best.against_best is None
    assert found.mean_test == pytest.approx(sum(test.accuracy(name) or 0 for name in skills) / 4)
    for way in found.ways:
        assert way.estimate.naive is not None
        assert way.test == test.score(answers_of(way.spec, way.voters, test))
        assert way.test_against_best is not None
        gained = way.test_against_best.only_first - way.test_against_best.only_second
        assert found.best.test is not None
        assert way.test is not None
        assert gained == way.test.correct - found.best.test.correct
    assert compare(list(skills), known, None, seats=4).ways[1].select == "greedy 4"


def test_text_ballots_are_compared_without_soft_votes() -> None:
    known = hand_made("ABCD", {"a": "ABCA", "b": "ABDD"})
    assert {way.spec.method for way in compare(["a", "b"], known, None).ways} == {"majority", "weighted"}


def test_a_comparison_names_who_lacks_ballots() -> None:
    known = hand_made("ABCD", {"a": "ABCA", "b": "ABDD"})
    with pytest.raises(ValueError, match="cannot compare on validation: c lack ballots"):
        compare(["a", "c"], known, None)
    with pytest.raises(ValueError, match="cannot compare on the test: it has no question with gold"):
        compare(["a"], known, Labelled({}, {}, {}, {}))


def test_pairs_count_who_alone_is_right() -> None:
    known = hand_made("AAAAAA", {"a": "AAAABB", "b": "ABBBAB"})
    members = {name: known.letters_of(name) for name in "ab"}
    answers: dict[str, Mapping[str, str | None]] = {VOTE: known.gold, **members}
    found = pairs_of(answers, known.gold)
    assert [(pair.first, pair.second) for pair in found] == [(VOTE, "a"), (VOTE, "b"), ("a", "b")]
    assert pair_between(found, "a", "b") == mcnemar(3, 1)
    assert pair_between(found, "b", "a") == mcnemar(1, 3)
    assert pair_between(found, "a", "c") is None
    assert found[2].agreement == pytest.approx(2 / 6)
    assert pairs_of(answers, {}) == ()


def test_a_set_is_scored_by_question() -> None:
    known = hand_made("ABCD", {"a": "ABCA"})
    assert known.score({"p0#0": "A", "p1#0": None, "p2#0": "D"}) == Score(1, 4, 2)
    assert known.accuracy("a") == 0.75
    assert known.accuracy("b") is None
    assert known.chance == 0.25
