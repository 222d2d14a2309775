"""The vote: a brute-force oracle for every level, and what must not matter."""

from __future__ import annotations

import math
import random
from collections import Counter
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.voting.ballot import AbstentionReason, Ballot
from nonet.voting.vote import (
    METHODS,
    Level,
    Member,
    Method,
    MissingBallotsError,
    Verdict,
    VoteSpec,
    missing_ballots,
    tally,
    tempered,
)

Cast = dict[str, dict[str, Ballot]]


def vote(letters: str, *given: tuple[str | None, tuple[float, ...], float | None]) -> Verdict:
    """Vote on one question: (letter, log-probabilities, validation) for each member."""
    members = [Member(f"m{at}", validation) for at, (_, _, validation) in enumerate(given)]
    return tally([("q#0", letters)], cast_by(members, [(each[0], each[1]) for each in given]), members, VoteSpec())[0]


def cast_by(members: list[Member], given: list[tuple[str | None, tuple[float, ...]]]) -> Cast:
    return {
        member.name: {
            "q#0": Ballot("q#0", letter, logprobs, None if letter else AbstentionReason.NO_LETTER),
        }
        for member, (letter, logprobs) in zip(members, given, strict=True)
    }


def test_most_votes_win() -> None:
    verdict = vote("ABCD", ("B", (), None), ("C", (), None), ("B", (), None), (None, (), None))
    assert verdict == Verdict("q#0", "B", Level.MAJORITY, {"B": 2, "C": 1}, abstentions=1, margin=0.25)


def test_a_majority_is_not_asked_for_more() -> None:
    assert vote("AB", ("B", (-0.0001, -9.0), 0.9), ("B", (-0.1, -9.0), 0.9), ("A", (0.0, -9.0), 0.1)).letter == "B"


def test_a_tie_goes_to_the_summed_log_probability_of_all_ballots() -> None:
    verdict = vote(
        "ABC",
        ("A", (-0.5, -1.0, -4.0), 0.9),
        ("B", (-3.0, -0.2, -4.0), 0.1),
        ("C", (-2.0, -1.0, -0.9), 0.1),
        ("C", (-2.0, -1.0, -0.9), 0.1),
        ("B", (-2.0, -1.0, -4.0), 0.1),
    )
    assert (verdict.letter, verdict.level) == ("B", Level.LOGPROB)


def test_ballots_without_log_probabilities_add_nothing() -> None:
    verdict = vote("AB", ("A", (), 0.9), ("B", (-1.0, -0.5), 0.1))
    assert (verdict.letter, verdict.level) == ("B", Level.LOGPROB)


def test_then_to_the_better_member_on_validation() -> None:
    verdict = vote("ABC", ("C", (), 0.99), ("A", (), 0.7), ("B", (), 0.8), ("A", (), 0.6), ("B", (), 0.5))
    assert (verdict.letter, verdict.level) == ("B", Level.MEMBER)


def test_a_known_score_outranks_an_unknown_one() -> None:
    assert vote("AB", ("A", (), None), ("B", (), 0.0)).letter == "B"


def test_then_to_the_earlier_letter() -> None:
    verdict = vote("ABCD", ("D", (), 0.8), ("B", (), 0.8))
    assert (verdict.letter, verdict.level) == ("B", Level.LETTER)


def test_only_abstentions_give_the_earliest_letter() -> None:
    verdict = vote("ABCD", (None, (), 0.8), (None, (), 0.9))
    assert verdict == Verdict("q#0", "A", Level.LETTER, {}, abstentions=2)


@given(st.lists(st.sampled_from("ABCD"), min_size=1, max_size=12))
def test_a_majority_without_ties_is_counters(named: list[str]) -> None:
    """What the work that Nonet generalises did by hand. Counter gives ties to the ballot cast first; ties are ours."""
    ranked = Counter(named).most_common()
    verdict = vote("ABCD", *((letter, (), None) for letter in named))
    if len(ranked) == 1 or ranked[0][1] > ranked[1][1]:
        assert (verdict.letter, verdict.level) == (ranked[0][0], Level.MAJORITY)
        ahead = ranked[0][1] - sum(count for _, count in ranked[1:2])
        assert verdict.margin == pytest.approx(ahead / len(named), abs=1e-6)
    else:
        assert verdict.level is not Level.MAJORITY
        assert verdict.margin == 0


def weighed(method: Method, *given: tuple[str, tuple[float, ...], float, float]) -> Verdict:
    """Vote on one question of two options: (letter, log-probabilities, weight, temperature) for each member."""
    members = [Member(f"m{at}", 0.5, weight, heat) for at, (_, _, weight, heat) in enumerate(given)]
    cast = cast_by(members, [(letter, logprobs) for letter, logprobs, _, _ in given])
    return tally([("q#0", "AB")], cast, members, VoteSpec(method))[0]


SURE_OF_A = (math.log(0.9), math.log(0.1))
LEANS_TO_B = (math.log(0.4), math.log(0.6))


def test_a_ballot_counts_what_it_weighs() -> None:
    light = weighed("weighted", ("A", (), 1.0, 1.0), ("B", (), 0.4, 1.0), ("B", (), 0.4, 1.0))
    assert (light.letter, light.votes) == ("A", {"A": 1, "B": 2})
    assert light.margin == pytest.approx(0.2 / 1.8, abs=1e-6)
    assert weighed("weighted", ("A", (), 1.0, 1.0), ("B", (), 0.6, 1.0), ("B", (), 0.6, 1.0)).letter == "B"
    tied = weighed("weighted", ("A", (-3.0, -0.1), 1.0, 1.0), ("B", (-3.0, -0.1), 0.5, 1.0), ("B", (), 0.5, 1.0))
    assert (tied.letter, tied.level) == ("B", Level.LOGPROB)


def test_a_soft_vote_adds_log_probabilities_whatever_the_majority() -> None:
    ballots = (("A", SURE_OF_A, 1.0, 1.0), ("B", LEANS_TO_B, 1.0, 1.0), ("B", LEANS_TO_B, 1.0, 1.0))
    assert weighed("majority", *ballots).letter == "B"
    found = weighed("soft", *ballots)
    assert (found.letter, found.level, found.votes) == ("A", Level.LOGPROB, {"A": 1, "B": 2})
    a, b = (0.9 * 0.4 * 0.4) ** (1 / 3), (0.1 * 0.6 * 0.6) ** (1 / 3)
    assert found.margin == pytest.approx((a - b) / (a + b), abs=1e-6)


def test_weights_and_temperatures_reach_a_soft_vote() -> None:
    leaning = ("B", LEANS_TO_B, 1.0, 1.0)
    assert weighed("soft", ("A", SURE_OF_A, 1.0, 1.0), leaning).letter == "A"
    assert weighed("soft", ("A", SURE_OF_A, 0.1, 1.0), leaning).letter == "B"
    assert weighed("soft", ("A", SURE_OF_A, 1.0, 10.0), leaning).letter == "B"
    for method in METHODS[2:]:
        with pytest.raises(ValueError, match="no log-probabilities, which a soft vote adds up"):
            weighed(method, ("A", (), 1.0, 1.0), leaning)
    for member in (Member("m0", weight=0.0), Member("m0", temperature=-1.0), Member("m0", weight=math.nan)):
        with pytest.raises(ValueError, match="not above 0"):
            tally([("q#0", "AB")], {"m0": {"q#0": Ballot("q#0", "A")}}, [member], VoteSpec())


@given(st.lists(st.floats(-30, 0), min_size=2, max_size=10), st.floats(0.05, 20))
def test_tempering_keeps_the_order_and_a_sum_of_one(values: list[float], temperature: float) -> None:
    found = tempered(values, temperature)
    assert math.fsum(map(math.exp, found)) == pytest.approx(1) or temperature == 1.0
    assert sorted(range(len(values)), key=lambda at: values[at]) == sorted(
        range(len(values)), key=lambda at: (round(found[at], 9), values[at])
    )
    assert tempered(values, 1.0) == tuple(values)


def test_options_are_told_apart_by_position() -> None:
    """Two options may have one text: their letters are still two answers."""
    assert vote("ABCD", ("D", (), None), ("B", (), None), ("D", (), None)).votes == {"B": 1, "D": 2}


scores = st.none() | st.sampled_from([0.5, 0.75, 0.875])
# Few, exact values: ties at every level are common.
values = st.sampled_from([-0.5, -1.0, -2.0])


@st.composite
def elections(draw: st.DrawFn) -> tuple[str, list[Member], list[tuple[str | None, tuple[float, ...]]]]:
    letters = "ABCD"[: draw(st.integers(2, 4))]
    count = draw(st.integers(1, 6))
    members = [Member(f"m{at}", draw(scores)) for at in range(count)]
    given = [
        (
            draw(st.none() | st.sampled_from(letters)),
            draw(st.just(()) | st.tuples(*[values] * len(letters))),
        )
        for _ in range(count)
    ]
    return letters, members, given


def oracle(letters: str, members: list[Member], given: list[tuple[str | None, tuple[float, ...]]]) -> tuple[str, Level]:
    """The rule of the issue, by comparing every letter with every other in exact arithmetic."""

    def votes(letter: str) -> int:
        return len([1 for found, _ in given if found == letter])

    def logprob(letter: str) -> Fraction:
        return sum((Fraction(logprobs["ABCD".index(letter)]) for _, logprobs in given if logprobs), Fraction(0))

    def support(letter: str) -> tuple[int, ...]:
        """Votes among the members of each score, best score first: members of one score are equals."""
        ranks = sorted({-1.0 if member.validation is None else member.validation for member in members}, reverse=True)
        return tuple(
            len(
                [
                    1
                    for member, (found, _) in zip(members, given, strict=True)
                    if found == letter and (-1.0 if member.validation is None else member.validation) == rank
                ]
            )
            for rank in ranks
        )

    levels = [(Level.MAJORITY, votes), (Level.LOGPROB, logprob), (Level.MEMBER, support)]
    tied = list(letters)
    for level, measure in levels:
        tied = [one for one in tied if all(measure(one) >= measure(other) for other in tied)]  # type: ignore[operator]
        if len(tied) == 1:
            return tied[0], level
    return min(tied), Level.LETTER


@settings(deadline=None)
@given(elections())
def test_every_verdict_is_the_oracles(
    election: tuple[str, list[Member], list[tuple[str | None, tuple[float, ...]]]],
) -> None:
    letters, members, given = election
    verdict = tally([("q#0", letters)], cast_by(members, given), members, VoteSpec())[0]
    assert (verdict.letter, verdict.level) == oracle(letters, members, given)
    assert sum(verdict.votes.values()) + verdict.abstentions == len(members)


@settings(deadline=None)
@given(elections(), st.randoms(use_true_random=False))
def test_the_order_of_members_decides_nothing(
    election: tuple[str, list[Member], list[tuple[str | None, tuple[float, ...]]]], source: random.Random
) -> None:
    letters, members, given = election
    ballots = cast_by(members, given)
    shuffled = list(members)
    source.shuffle(shuffled)
    spec = VoteSpec()
    assert tally([("q#0", letters)], ballots, shuffled, spec) == tally([("q#0", letters)], ballots, members, spec)


def test_members_of_equal_merit_may_swap_their_ballots() -> None:
    given: list[tuple[str | None, tuple[float, ...]]] = [
        ("A", (-0.1, -2.4)),
        ("B", (-3.0, -0.3)),
        ("B", (-0.9, -0.7)),
        ("A", (-0.2, -1.7)),
    ]
    members = [Member(f"m{at}", 0.8) for at in range(4)]
    found = {
        (verdict.letter, verdict.level)
        for order in permutations(given)
        for verdict in tally([("q#0", "AB")], cast_by(members, list(order)), members, VoteSpec())
    }
    assert found == {("A", Level.LOGPROB)}


@settings(deadline=None)
@given(elections())
def test_another_vote_for_the_winner_keeps_it_the_winner(
    election: tuple[str, list[Member], list[tuple[str | None, tuple[float, ...]]]],
) -> None:
    letters, members, given = election
    winner = tally([("q#0", letters)], cast_by(members, given), members, VoteSpec())[0].letter
    more = [*members, Member("more", None)]
    verdict = tally([("q#0", letters)], cast_by(more, [*given, (winner, ())]), more, VoteSpec())[0]
    assert verdict.letter == winner


QUESTIONS = [("q#0", "AB"), ("q#1", "ABC"), ("p#0", "AB")]
MEMBERS = [Member("m0", 0.9), Member("m1", 0.8), Member("m2", 0.7)]


def ballots(*absent: tuple[str, str]) -> Cast:
    return {
        member.name: {
            question_id: Ballot(question_id, "B")
            for question_id, _ in QUESTIONS
            if (member.name, question_id) not in absent
        }
        for member in MEMBERS
    }


def test_verdicts_come_in_the_order_of_the_questions() -> None:
    found = tally(QUESTIONS, ballots(), MEMBERS, VoteSpec())
    assert [verdict.question_id for verdict in found] == ["q#0", "q#1", "p#0"]


def test_every_missing_ballot_is_told() -> None:
    absent = [("m0", "q#1"), ("m2", "q#1"), ("m2", "p#0")]
    with pytest.raises(MissingBallotsError, match=r"m0 lacks 1 \(q#1\); m2 lacks 2 \(q#1, p#0\)") as caught:
        tally(QUESTIONS, ballots(*absent), MEMBERS, VoteSpec())
    assert caught.value.missing == {"m0": ("q#1",), "m2": ("q#1", "p#0")}
    assert missing_ballots(["q#0"], {}, MEMBERS) == {"m0": ("q#0",), "m1": ("q#0",), "m2": ("q#0",)}


def test_a_partial_vote_needs_its_quorum_at_every_question() -> None:
    absent = [("m0", "q#1"), ("m2", "q#1"), ("m2", "p#0")]
    spec = VoteSpec(allow_partial=True, quorum=1)
    found = tally(QUESTIONS, ballots(*absent), MEMBERS, spec)
    assert [verdict.missing for verdict in found] == [0, 2, 1]
    assert [verdict.votes for verdict in found] == [{"B": 3}, {"B": 1}, {"B": 2}]
    with pytest.raises(MissingBallotsError, match=r"1 questions have fewer ballots than the quorum of 2 \(q#1\)"):
        tally(QUESTIONS, ballots(*absent), MEMBERS, VoteSpec(allow_partial=True, quorum=2))


def test_an_abstention_is_a_ballot_for_the_quorum() -> None:
    cast: Cast = {"m0": {"q#0": Ballot("q#0", None, (), AbstentionReason.CUT_OFF)}, "m1": {"q#0": Ballot("q#0", "B")}}
    found = tally(QUESTIONS[:1], cast, MEMBERS, VoteSpec(allow_partial=True, quorum=2))
    assert found[0] == Verdict("q#0", "B", Level.MAJORITY, {"B": 1}, abstentions=1, missing=1, margin=0.5)


@pytest.mark.parametrize("quorum", [None, 0, 4])
def test_a_partial_vote_without_a_possible_quorum_is_refused(quorum: int | None) -> None:
    with pytest.raises(ValueError, match="needs a quorum from 1 to 3"):
        tally(QUESTIONS, ballots(), MEMBERS, VoteSpec(allow_partial=True, quorum=quorum))


@pytest.mark.parametrize(
    ("ballot", "message"),
    [
        (Ballot("q#0", "C"), "names 'C', which is not one of AB"),
        (Ballot("q#0", "A", (-1.0, -1.0, -1.0)), "holds 3 log-probabilities for 2 options"),
        (Ballot("q#1", "A"), "is for q#1"),
    ],
)
def test_a_ballot_that_does_not_fit_its_question_is_refused(ballot: Ballot, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tally([("q#0", "AB")], {"m0": {"q#0": ballot}}, [Member("m0")], VoteSpec())


def test_nobody_votes_twice_and_somebody_must() -> None:
    with pytest.raises(ValueError, match="vote twice"):
        tally(QUESTIONS, ballots(), [MEMBERS[0], MEMBERS[0]], VoteSpec())
    with pytest.raises(ValueError, match="question ids repeat"):
        tally([QUESTIONS[0], QUESTIONS[0]], ballots(), MEMBERS, VoteSpec())
    with pytest.raises(ValueError, match="needs a member"):
        tally(QUESTIONS, ballots(), [], VoteSpec())
