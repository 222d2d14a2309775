"""Stop when decided: whatever is left out, the verdicts are those of the full vote."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.voting.ballot import AbstentionReason, Ballot, Sample, sampled
from nonet.voting.decided import CLOSING, Polls, winner
from nonet.voting.vote import METHODS, SOFT, Level, Member, UndecidedError, VoteSpec, tally

WEIGHTS = st.sampled_from([1.0, 1.0, 1.0, 0.1, 0.2, 0.3, 1.7, 1 / 3])
"""Equals are common, and so are sums that only exact rounding keeps apart."""


@dataclass(frozen=True)
class Election:
    """Questions with their letters, members by merit, and the ballots that each would cast."""

    questions: tuple[tuple[str, str], ...]
    members: tuple[Member, ...]
    full: dict[str, dict[str, Ballot]]
    samples: int


@st.composite
def elections(draw: st.DrawFn) -> Election:
    letters = [("ABCDE"[: draw(st.integers(2, 5))]) for _ in range(draw(st.integers(1, 4)))]
    questions = tuple((f"q#{at}", own) for at, own in enumerate(letters))
    scores = sorted(draw(st.lists(st.sampled_from([0.5, 0.7, 0.9]), min_size=1, max_size=9)), reverse=True)
    members = tuple(Member(f"m{at}", score, draw(WEIGHTS)) for at, score in enumerate(scores))
    samples = draw(st.integers(1, 3))
    full = {m.name: {q: _ballot(draw, q, own, samples) for q, own in questions} for m in members}
    return Election(questions, members, full, samples)


def _ballot(draw: st.DrawFn, question: str, letters: str, samples: int) -> Ballot:
    answers = st.one_of(st.none(), st.sampled_from(letters), st.just(letters[0]))  # the first letter is the favourite
    given_ = [draw(answers) for _ in range(samples)]
    if samples > 1:
        return sampled(question, [Sample(a, None if a else AbstentionReason.EMPTY) for a in given_])
    logprobs = draw(st.just(()) | st.tuples(*[st.sampled_from([-0.5, -1.0, -2.0])] * len(letters)))
    return Ballot(question, given_[0], logprobs, None if given_[0] else AbstentionReason.EMPTY)


def stopped(election: Election, failing: frozenset[str]) -> dict[str, dict[str, Ballot]]:
    """The ballots of members that answer in waves until all is decided; those `failing` answer in a later try."""
    polls = Polls(dict(election.questions), [(m.name, m.weight) for m in election.members], election.samples)
    cast: dict[str, dict[str, Ballot]] = {}
    for waiting in (
        [m.name for m in election.members if m.name not in failing],
        [m.name for m in election.members if m.name in failing],
    ):
        while waiting:
            wave = polls.wave(waiting)
            open_ = polls.open()
            for name in wave or tuple(waiting):
                asked = open_ if wave else ()
                polls.take(name, {q: election.full[name][q].letters for q in asked})
                cast[name] = {
                    q: election.full[name][q] if q in asked else Ballot(q, None, (), AbstentionReason.DECIDED)
                    for q, _ in election.questions
                }
                waiting.remove(name)
    return cast


@pytest.mark.parametrize("method", CLOSING)
@settings(deadline=None, max_examples=60)
@given(elections(), st.data())
def test_verdicts_are_those_of_the_full_vote(method: str, election: Election, data: st.DataObject) -> None:
    failing = data.draw(st.frozensets(st.sampled_from([member.name for member in election.members])))
    spec = VoteSpec(method)  # type: ignore[arg-type]
    members = election.members
    if method == "majority":
        members = tuple(Member(m.name, m.validation) for m in members)
        election = Election(election.questions, members, election.full, election.samples)
    whole = tally(election.questions, election.full, members, spec)
    found = tally(election.questions, stopped(election, failing), members, spec)
    for full, early in zip(whole, found, strict=True):
        assert (early.question_id, early.letter, early.level) == (full.question_id, full.letter, full.level)
        assert early.margin <= full.margin + 1e-6, "the least that it could have come to"
        assert early.unasked == 0 or early.level is Level.MAJORITY


@given(elections())
def test_it_is_closed_exactly_when_no_ballots_can_change_it(election: Election) -> None:
    """Against the extreme, in quarters, which add up exactly: all that is to come goes to one letter."""
    weights = {member.name: max(1, round(4 * member.weight)) for member in election.members}
    for question, letters in election.questions:
        for seen in range(len(election.members)):
            cast = [
                (a, weights[m.name]) for m in election.members[:seen] for a in election.full[m.name][question].letters
            ]
            coming = [weights[m.name] for m in election.members[seen:] for _ in range(election.samples)]
            found = winner(letters, [(a, w / 4) for a, w in cast], [w / 4 for w in coming])
            ends = set()
            for other in letters:
                full = [*cast, *((other, weight) for weight in coming)]
                sums = {a: sum(w for b, w in full if b == a) for a in letters}
                ends |= {a for a in letters if sums[a] == max(sums.values())}
            assert (found is not None) == (len(ends) == 1)
            assert found in (None, *ends)


def test_five_of_nine_that_agree_are_enough() -> None:
    polls = Polls({"q#0": "ABCD", "q#1": "ABCD"}, [(f"m{at}", 1.0) for at in range(9)])
    names = [f"m{at}" for at in range(9)]
    assert polls.wave(names) == tuple(names[:5])
    for name in names[:5]:
        polls.take(name, {"q#0": ("A",), "q#1": ("B" if name == "m4" else "A",)})
    assert polls.open() == ("q#1",)
    assert polls.wave(names[5:]) == ("m5",)
    polls.take("m5", {"q#1": ("A",)})
    assert polls.open() == ()
    assert polls.wave(names[6:]) == ()


def test_who_does_not_vote_is_never_asked() -> None:
    polls = Polls({"q#0": "AB"}, [("m0", 1.0)])
    assert polls.wave(["m1"]) == ()
    assert polls.wave(["m1", "m0"]) == ("m0",)


def test_a_ballot_that_may_still_come_keeps_a_question_open() -> None:
    """A member whose adapter failed may be rerun: it counts as coming."""
    polls = Polls({"q#0": "AB"}, [("m0", 1.0), ("m1", 1.0), ("m2", 1.0)])
    polls.take("m0", {"q#0": ("A",)})
    assert polls.wave(["m2"]) == ("m2",)
    polls.take("m2", {"q#0": ("B",)})
    assert polls.open() == ("q#0",)
    assert polls.wave([]) == ()


UNASKED = Ballot("q#0", None, (), AbstentionReason.DECIDED)


def cast_of(*letters: str | None) -> dict[str, dict[str, Ballot]]:
    return {f"m{at}": {"q#0": Ballot("q#0", a) if a else UNASKED} for at, a in enumerate(letters)}


def test_a_vote_that_needs_the_ballots_is_refused() -> None:
    members = [Member(f"m{at}") for at in range(3)]
    (found,) = tally([("q#0", "AB")], cast_of("A", "A", None), members, VoteSpec())
    assert (found.letter, found.unasked, found.abstentions, found.missing) == ("A", 1, 0, 0)
    assert found.margin == pytest.approx(1 / 3, abs=1e-6)
    heavy = [*members[:2], Member("m2", weight=2.5)]
    with pytest.raises(UndecidedError, match=r"not asked 1 questions \(q#0\).*stop_when_decided: false"):
        tally([("q#0", "AB")], cast_of("A", "A", None), heavy, VoteSpec("weighted"))
    for method in SOFT:
        with pytest.raises(UndecidedError, match="needs their ballots"):
            tally([("q#0", "AB")], cast_of("A", "A", None), members, VoteSpec(method))


def test_in_a_partial_vote_they_are_missing() -> None:
    members = [Member(f"m{at}") for at in range(3)]
    spec = VoteSpec("soft", allow_partial=True, quorum=1)
    cast = {"m0": {"q#0": Ballot("q#0", "B", (-2.0, -0.1))}, "m1": {"q#0": UNASKED}, "m2": {"q#0": UNASKED}}
    (found,) = tally([("q#0", "AB")], cast, members, spec)
    assert (found.letter, found.missing, found.unasked) == ("B", 2, 0)


def test_all_samples_vote() -> None:
    cast = {
        "m0": {"q#0": sampled("q#0", [Sample("A"), Sample("A"), Sample("A")])},
        "m1": {"q#0": sampled("q#0", [Sample("B"), Sample("B"), Sample("C")])},
        "m2": {"q#0": sampled("q#0", [Sample("B"), Sample("B"), Sample(None, AbstentionReason.CUT_OFF)])},
    }
    (found,) = tally([("q#0", "ABC")], cast, [Member(name) for name in cast], VoteSpec())
    assert (found.letter, found.votes, found.abstentions) == ("B", {"A": 3, "B": 4, "C": 1}, 1)
    assert set(CLOSING) == set(METHODS) - set(SOFT)
