"""Who votes and with what weight: by validation, greedily, by name; shrinkage, calibration, refusals."""

from __future__ import annotations

from itertools import permutations
from math import fsum

import pytest

from nonet.voting.calibration import HIGHEST, LOWEST, temperature
from nonet.voting.greedy import seats
from nonet.voting.labelled import Labelled
from nonet.voting.vote import METHODS, Member, VoteSpec, tempered
from nonet.voting.voters import BAGS, choose_voters, measured, weights_of
from tests.unit.electorate import drawn, hand_made

NOTHING = Labelled({}, {}, {}, {})
MEMBERS = (Member("m0", 0.9), Member("m1", 0.8), Member("m2", 0.7))
TEN = {f"m{at}": 0.4 + 0.1 * at for at in range(10)}


def names(spec: VoteSpec, *members: Member) -> list[str]:
    return [member.name for member in choose_voters(spec, members, NOTHING)]


def test_the_best_on_validation_are_chosen_whatever_their_order() -> None:
    members = [Member("a", 0.7), Member("b", 0.9), Member("d", 0.8), Member("c", 0.8)]
    for order in permutations(members):
        assert names(VoteSpec(members=2, select="validation"), *order) == ["b", "c"]
        assert names(VoteSpec(), *order) == ["b", "c", "d", "a"]


def test_members_are_chosen_by_name() -> None:
    members = [Member("a", 0.7), Member("b", 0.9), Member("c", None)]
    assert names(VoteSpec(select=("c", "a")), *members) == ["a", "c"]
    with pytest.raises(ValueError, match="no such members to select: x; there are a, b, c"):
        choose_voters(VoteSpec(select=("a", "x")), members, NOTHING)


def test_too_few_members_are_refused() -> None:
    with pytest.raises(ValueError, match="9 members are to vote, but there are 1"):
        choose_voters(VoteSpec(members=9, select="validation"), [Member("a", 0.5)], NOTHING)
    with pytest.raises(ValueError, match="0 members are to vote"):
        choose_voters(VoteSpec(), [], NOTHING)


def test_an_unscored_member_cannot_be_ranked_unless_the_vote_is_partial() -> None:
    members = [Member("a", None), Member("b", 0.9), Member("c", 0.8)]
    with pytest.raises(ValueError, match="no validation score for a"):
        choose_voters(VoteSpec(members=2, select="validation"), members, NOTHING)
    assert names(VoteSpec(members=2, select="validation", allow_partial=True, quorum=1), *members) == ["b", "c"]
    assert names(VoteSpec(members=3, select="validation"), *members) == ["b", "c", "a"]


def test_fewer_seats_than_named_members_are_refused() -> None:
    with pytest.raises(ValueError, match="select by validation"):
        choose_voters(VoteSpec(members=1, select="all"), MEMBERS, NOTHING)


def test_weights_are_uniform_within_one_standard_error() -> None:
    known = hand_made("A" * 100, {})  # one standard error of 0.7 is 0.0458
    for how in ("log-odds", "accuracy"):
        assert weights_of({"a": 0.69, "b": 0.70, "c": 0.71}, known, how) == pytest.approx({"a": 1, "b": 1, "c": 1})
        found = weights_of({"a": 0.60, "b": 0.70, "c": 0.80}, known, how)
        assert found["a"] < found["b"] < found["c"]
        assert sum(found.values()) == pytest.approx(3)
    found = weights_of({"a": 0.60, "b": 0.70, "c": 0.80}, known, "accuracy")
    assert found["c"] / found["b"] == pytest.approx((0.80 - 0.0458) / 0.70, abs=1e-4)


def test_log_odds_are_above_those_of_chance() -> None:
    known = hand_made("A" * 10_000, {})
    found = weights_of({"good": 0.9, "poor": 0.25, "none": 0.0, "all": 1.0}, known, "log-odds")
    assert 0 < found["none"] < found["poor"] < 0.01 * found["good"]
    assert found["good"] < found["all"] < 4


def test_a_weighted_vote_of_equals_is_a_majority() -> None:
    known = drawn(40, {"a": 1.0, "b": 1.0, "c": 1.0})
    voters = choose_voters(VoteSpec("weighted"), measured(["a", "b", "c"], known), known)
    assert [voter.weight for voter in voters] == [1.0, 1.0, 1.0]


def test_temperatures_undo_a_sharpening() -> None:
    plain = drawn(400, {"a": 2.0}, seed=1)
    sharper = drawn(400, {"a": 2.0}, seed=1, sharp=3.0)
    first, second = (temperature(known.cast("a"), known.gold, known.letters) for known in (plain, sharper))
    assert second / first == pytest.approx(3.0, rel=1e-3)
    assert temperature({}, {}, {}) == 1.0


def test_temperatures_have_bounds() -> None:
    known = drawn(30, {"a": 50.0})
    assert LOWEST <= temperature(known.cast("a"), known.gold, known.letters) < 2 * LOWEST
    wrong = {q: "ABCD"["ABCD".index(letter) - 1] for q, letter in known.gold.items()}
    assert temperature(known.cast("a"), wrong, known.letters) == pytest.approx(HIGHEST, rel=1e-3)


def test_a_temperature_is_the_likeliest() -> None:
    known = drawn(200, {"a": 1.0}, sharp=2.0)

    def likelihood(heat: float) -> float:
        own = known.cast("a")
        return fsum(tempered(own[q].logprobs, heat)["ABCD".index(gold)] for q, gold in known.gold.items())

    best = temperature(known.cast("a"), known.gold, known.letters)
    assert best != 1.0
    assert all(likelihood(best) > likelihood(other) for other in (0.5 * best, 0.9 * best, 1.1 * best, 2 * best))


def test_greedy_takes_members_that_complement_each_other() -> None:
    """c is the worst, but right where a is wrong; b is a again."""
    known = hand_made("AAAAAAAAAA", {"a": "AAAAAAABBB", "b": "AAAAAAABBC", "c": "BCDBCDAAAA"})
    won = seats(["a", "b", "c"], known, 4, soft=False, temperatures={}, bags=BAGS, seed=0)
    assert sum(won.values()) == 4 * BAGS
    assert won == seats(["a", "b", "c"], known, 4, soft=False, temperatures={}, bags=BAGS, seed=0)
    assert set(won) == {"a", "b", "c"}


def test_greedy_beats_its_members_on_what_it_is_fitted_on() -> None:
    known = drawn(120, TEN)
    names = list(TEN)
    voters = choose_voters(VoteSpec("soft", 5, "greedy"), measured(names, known), known)
    assert 1 <= len(voters) <= 5
    assert {voter.weight for voter in voters} != {1.0}
    assert sum(voter.weight for voter in voters) == pytest.approx(len(voters), abs=1e-4)
    again = choose_voters(VoteSpec("soft", 5, "greedy"), measured(names[::-1], known), known)
    assert again == voters, "the order in which members are listed decides nothing"


def test_bags_give_seats_to_more_than_the_best() -> None:
    known = drawn(60, dict.fromkeys("abcdef", 1.0))
    won = seats(list("abcdef"), known, 3, soft=True, temperatures={}, bags=BAGS, seed=0)
    assert sum(won.values()) == 3 * BAGS
    assert len(won) == 6, "every member is in some bag, and one of three equals is taken there"


@pytest.mark.parametrize("method", METHODS)
def test_what_is_fitted_needs_scores_of_all_but_in_a_partial_vote(method: str) -> None:
    known = drawn(20, {"a": 2.0, "b": 1.0})
    members = (*measured(["a", "b"], known), Member("c", None))
    spec = VoteSpec(method, select="greedy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot select by greedy: no validation score for c"):
        choose_voters(spec, members, known)
    partial = VoteSpec(method, select="greedy", allow_partial=True, quorum=1)  # type: ignore[arg-type]
    assert {voter.name for voter in choose_voters(partial, members, known)} <= {"a", "b"}
    everyone = VoteSpec(method, allow_partial=True, quorum=1)  # type: ignore[arg-type]
    last = choose_voters(everyone, members, known)[-1]
    assert (last.name, last.weight, last.temperature) == ("c", 1.0, 1.0)
    if method in ("weighted", "soft-calibrated"):
        with pytest.raises(ValueError, match=f"cannot vote {method}: no validation score for c"):
            choose_voters(VoteSpec(method), members, known)  # type: ignore[arg-type]
