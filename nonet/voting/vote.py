"""The vote: ballots counted into verdicts.

Knows how ballots are counted, how ties break and at which level. Who votes, and what a ballot weighs, is decided in
`nonet.voting.voters`. Knows no file: submissions are in `nonet.questions.submission`.

Levels, each only for what the one before left tied: most votes, by weight (a soft vote begins with the next); the
highest weighted sum of log-probabilities over all ballots that hold them; the ballot of the better member on
validation; the earlier letter. The order in which members are listed decides nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Literal, get_args

from nonet.voting.ballot import Ballot
from nonet.voting.decided import CLOSING, lead, winner

IDS_SHOWN = 5
Method = Literal["majority", "weighted", "soft", "soft-calibrated"]
METHODS: tuple[Method, ...] = get_args(Method)
SELECTIONS = ("validation", "greedy", "all")
"""Ways of selecting members other than by name."""
SOFT: tuple[Method, ...] = ("soft", "soft-calibrated")
"""Methods that add up log-probabilities instead of votes."""
DIGITS = 6
"""Decimals of a margin."""


class Level(StrEnum):
    """What decided a verdict."""

    MAJORITY = "majority"
    LOGPROB = "logprob"
    MEMBER = "member"
    LETTER = "letter"


@dataclass(frozen=True, slots=True)
class Member:
    """An adapter that votes, and its accuracy on validation (0..1), None where unknown.

    `weight` (above 0) is what its ballot counts for; its log-probabilities are divided by `temperature` and
    normalised again before they are summed.
    """

    name: str
    validation: float | None = None
    weight: float = 1.0
    temperature: float = 1.0

    @property
    def merit(self) -> float:
        """Accuracy on validation; below all others where unknown."""
        return -1.0 if self.validation is None else self.validation


@dataclass(frozen=True, slots=True)
class VoteSpec:
    """How to vote: `members` voters (None: all; for select "greedy" at most so many), selected by validation,
    greedily, all, or by name; `weights` of the method "weighted"; a `quorum` of ballots a question where
    `allow_partial`.
    """

    method: Method = "majority"
    members: int | None = None
    select: Literal["validation", "greedy", "all"] | tuple[str, ...] = "all"
    allow_partial: bool = False
    quorum: int | None = None
    weights: Literal["log-odds", "accuracy"] = "log-odds"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one question, the level that decided it, `votes` by letter (ballots, whatever they weigh; only
    letters with votes), the number of abstentions, and of members without a ballot (0 unless the vote is partial).

    `margin` (0..1) is how far the letter is ahead of the next one: in shares of the weight of all ballots cast; in
    a soft vote, in probabilities under the mean log-probability. Where a tie was broken it is 0.

    `unasked` members were not asked, since the question was decided without them (nonet.voting.decided). The margin is
    then the least that it could have come to with their ballots.
    """

    question_id: str
    letter: str
    level: Level
    votes: dict[str, int]
    abstentions: int
    missing: int = 0
    margin: float = 0.0
    unasked: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One comparison of a tally: the `scores` of the letters that were tied so far (votes by weight, sums of
    log-probabilities, weights of the best members; {} where only the order of letters is left), and those it `left`.
    """

    level: Level
    scores: Mapping[str, float]
    left: tuple[str, ...]


Cast = Sequence[tuple[Member, Ballot]]
"""The ballots on one question, with who cast them."""


class MissingBallotsError(ValueError):
    """Some members have no ballot for some questions; `missing` maps member names to question ids."""

    def __init__(self, missing: Mapping[str, tuple[str, ...]], why: str) -> None:
        self.missing = dict(missing)
        super().__init__(why)


class UndecidedError(MissingBallotsError):
    """Members were not asked some questions, which another vote had decided, and this vote needs their ballots."""


def missing_ballots(
    question_ids: Iterable[str],
    ballots: Mapping[str, Mapping[str, Ballot]],
    members: Iterable[Member],
) -> dict[str, tuple[str, ...]]:
    """The questions that each member has no ballot for, by member name; members that miss none are left
    out.
    """
    asked = tuple(question_ids)
    missing = {
        member.name: tuple(asked_id for asked_id in asked if asked_id not in ballots.get(member.name, {}))
        for member in members
    }
    return {name: ids for name, ids in missing.items() if ids}


def tally(
    questions: Sequence[tuple[str, str]],
    ballots: Mapping[str, Mapping[str, Ballot]],
    members: Sequence[Member],
    spec: VoteSpec,
) -> tuple[Verdict, ...]:
    """One verdict per question, in order. `questions` are (question id, its letters); `ballots` by member
    name and question id; `members` those that vote (see `nonet.voting.voters`).

    Raises MissingBallotsError where a member has no ballot for a question; in a partial vote, where a
    question has fewer than `spec.quorum` ballots. Raises UndecidedError where members were not asked and their ballots
    could change a verdict of this vote; in a partial vote such ballots are missing ones. Raises ValueError for a ballot
    that does not fit its question or that a soft vote cannot count, repeated members or questions, no members, a weight
    or temperature that is not above 0, and a partial vote without quorum.
    """
    _check(questions, members, spec)
    if spec.allow_partial:
        ballots = {name: {q: b for q, b in cast.items() if b.asked} for name, cast in ballots.items()}
    _check_complete(questions, ballots, members, spec)
    ranked = sorted(members, key=lambda member: (-member.merit, member.name))
    _check_decided(questions, ballots, ranked, spec)
    soft = spec.method in SOFT
    return tuple(_decide(question_id, letters, ballots, ranked, soft) for question_id, letters in questions)


def _check(questions: Sequence[tuple[str, str]], members: Sequence[Member], spec: VoteSpec) -> None:
    if not members:
        raise ValueError("a vote needs a member")
    if len({member.name for member in members}) < len(members):
        raise ValueError(f"a member would vote twice: {', '.join(member.name for member in members)}")
    for member in members:
        if not (member.weight > 0 and member.temperature > 0):
            raise ValueError(f"{member.name}: weight {member.weight}, temperature {member.temperature}: not above 0")
    if len({question_id for question_id, _ in questions}) < len(questions):
        raise ValueError("a question would be decided twice: question ids repeat")
    if spec.allow_partial and (spec.quorum is None or not 1 <= spec.quorum <= len(members)):
        raise ValueError(f"a partial vote of {len(members)} members needs a quorum from 1 to {len(members)}")


def _check_complete(
    questions: Sequence[tuple[str, str]],
    ballots: Mapping[str, Mapping[str, Ballot]],
    members: Sequence[Member],
    spec: VoteSpec,
) -> None:
    asked = [question_id for question_id, _ in questions]
    missing = missing_ballots(asked, ballots, members)
    if not missing:
        return
    told = "; ".join(
        f"{name} lacks {len(ids)} ({', '.join(ids[:IDS_SHOWN])}{', …' if len(ids) > IDS_SHOWN else ''})"
        for name, ids in missing.items()
    )
    if not spec.allow_partial or spec.quorum is None:
        raise MissingBallotsError(
            missing, f"ballots are missing: {told}. Rerun what failed, or allow a partial vote with a quorum."
        )
    absent: dict[str, int] = dict.fromkeys(asked, 0)
    for ids in missing.values():
        for question_id in ids:
            absent[question_id] += 1
    short = [question_id for question_id in asked if len(members) - absent[question_id] < spec.quorum]
    if short:
        names = ", ".join(short[:IDS_SHOWN]) + (", …" if len(short) > IDS_SHOWN else "")
        what = f"{len(short)} questions have fewer ballots than the quorum of {spec.quorum} ({names})"
        raise MissingBallotsError(missing, f"{what}: {told}. Rerun what failed, or lower the quorum.")


def steps_of(
    question: tuple[str, str],
    ballots: Mapping[str, Mapping[str, Ballot]],
    members: Sequence[Member],
    spec: VoteSpec,
) -> tuple[Step, ...]:
    """How `tally` decides one `question` (id, its letters), step by step; the last one leaves the verdict's letter.

    Members without a ballot on it are left out. Raises ValueError for a ballot that does not fit, and no members.
    """
    _check([question], members, VoteSpec())
    question_id, letters = question
    soft = spec.method in SOFT
    ranked = sorted(members, key=lambda member: (-member.merit, member.name))
    cast = _cast(question_id, letters, ballots, ranked, soft)
    return tuple(_steps(letters, None if soft else _weights(letters, cast), _summed(letters, cast), cast))


def _check_decided(
    questions: Sequence[tuple[str, str]],
    ballots: Mapping[str, Mapping[str, Ballot]],
    ranked: Sequence[Member],
    spec: VoteSpec,
) -> None:
    """Raise UndecidedError where somebody was not asked who could still change a verdict."""
    open_: list[str] = []
    missing: dict[str, tuple[str, ...]] = {}
    for question_id, letters in questions:
        unasked = _unasked(question_id, ballots, ranked)
        cast = _cast(question_id, letters, ballots, ranked, soft=False) if unasked else ()
        if unasked and not (spec.method in CLOSING and winner(letters, _voices(cast), _coming(unasked, cast))):
            open_.append(question_id)
            missing |= {member.name: (*missing.get(member.name, ()), question_id) for member in unasked}
    if open_:
        some = ", ".join(open_[:IDS_SHOWN]) + (", …" if len(open_) > IDS_SHOWN else "")
        raise UndecidedError(
            missing,
            f"members were not asked {len(open_)} questions ({some}), which the run's own vote had decided "
            f"(stop_when_decided), and this vote by {spec.method} needs their ballots. Submit the batch again with "
            "stop_when_decided: false (adapters and validation are reused), or vote as the batch does.",
        )


def _voices(cast: Cast) -> tuple[tuple[str | None, float], ...]:
    """What each ballot says, with its weight; all samples of a ballot that has any."""
    return tuple((letter, member.weight) for member, ballot in cast for letter in ballot.letters)


def _coming(unasked: Iterable[Member], cast: Cast) -> list[float]:
    """The weights of the ballots that `unasked` members would have cast: each as many as the others."""
    each = max((len(ballot.letters) for _, ballot in cast), default=1)
    return [member.weight for member in unasked for _ in range(each)]


def _decide(
    question_id: str,
    letters: str,
    ballots: Mapping[str, Mapping[str, Ballot]],
    ranked: Sequence[Member],
    soft: bool,
) -> Verdict:
    cast = _cast(question_id, letters, ballots, ranked, soft)
    unasked = _unasked(question_id, ballots, ranked)
    voices, coming = _voices(cast), _coming(unasked, cast)
    weights, sums = _weights(letters, cast), _summed(letters, cast)
    letter, level = _winner(letters, None if soft else weights, sums, cast)
    shares = _probabilities(sums, cast) if soft else _shares(weights, voices)
    margin = shares[letter] - max(share for a, share in shares.items() if a != letter)
    if unasked:
        margin = lead(letters, voices, coming, letter) / math.fsum([*coming, *(weight for _, weight in voices)])
    counts = Counter(letter for letter, _ in voices)
    return Verdict(
        question_id,
        letter,
        level,
        votes={a: counts[a] for a in letters if counts[a]},
        abstentions=counts[None],
        missing=len(ranked) - len(cast) - len(unasked),
        margin=round(max(0.0, margin), DIGITS),
        unasked=len(unasked),
    )


def _cast(
    question_id: str,
    letters: str,
    ballots: Mapping[str, Mapping[str, Ballot]],
    ranked: Sequence[Member],
    soft: bool,
) -> Cast:
    """The ballots of those that were asked."""
    own = [
        (member, ballots[member.name][question_id]) for member in ranked if question_id in ballots.get(member.name, {})
    ]
    for member, ballot in own:
        _check_ballot(member, ballot, question_id, letters, soft)
    return [(member, ballot) for member, ballot in own if ballot.asked]


def _unasked(
    question_id: str, ballots: Mapping[str, Mapping[str, Ballot]], ranked: Sequence[Member]
) -> tuple[Member, ...]:
    """The members that were not asked."""
    own = [(member, ballots.get(member.name, {}).get(question_id)) for member in ranked]
    return tuple(member for member, ballot in own if ballot is not None and not ballot.asked)


def _weights(letters: str, cast: Cast) -> dict[str, float]:
    """Votes by letter, each with its member's weight."""
    return {a: math.fsum(weight for letter, weight in _voices(cast) if letter == a) for a in letters}


def _summed(letters: str, cast: Cast) -> dict[str, float]:
    """Weighted sum of the log-probabilities by letter; ballots without them add nothing."""
    held = [(member, tempered(ballot.logprobs, member.temperature)) for member, ballot in cast if ballot.logprobs]
    return {a: math.fsum(member.weight * values[at] for member, values in held) for at, a in enumerate(letters)}


def tempered(logprobs: Sequence[float], temperature: float) -> tuple[float, ...]:
    """`logprobs` divided by `temperature` and normalised again; as they are at temperature 1."""
    if temperature == 1.0:
        return tuple(logprobs)
    scaled = [value / temperature for value in logprobs]
    top = max(scaled)
    total = top + math.log(math.fsum(math.exp(value - top) for value in scaled))
    return tuple(value - total for value in scaled)


def _probabilities(sums: Mapping[str, float], cast: Cast) -> dict[str, float]:
    """By letter, under the mean log-probability of the ballots that hold any: the geometric mean, normalised."""
    total = math.fsum(member.weight for member, ballot in cast if ballot.logprobs) or 1.0
    top = max(sums.values())
    powers = {a: math.exp((value - top) / total) for a, value in sums.items()}
    return {a: power / math.fsum(powers.values()) for a, power in powers.items()}


def _shares(weights: Mapping[str, float], voices: Iterable[tuple[str | None, float]]) -> dict[str, float]:
    total = math.fsum(weight for _, weight in voices)
    return {a: weight / total for a, weight in weights.items()}


def _check_ballot(member: Member, ballot: Ballot, question_id: str, letters: str, soft: bool) -> None:
    place = f"ballot of {member.name} on {question_id}"
    if ballot.question_id != question_id:
        raise ValueError(f"{place} is for {ballot.question_id}")
    for letter in (ballot.letter, *ballot.letters):
        if letter is not None and letter not in letters:
            raise ValueError(f"{place} names {letter!r}, which is not one of {letters}")
    if len(ballot.logprobs) not in (0, len(letters)):
        raise ValueError(f"{place} holds {len(ballot.logprobs)} log-probabilities for {len(letters)} options")
    if soft and ballot.letter is not None and not ballot.logprobs:
        raise ValueError(f"{place} holds no log-probabilities, which a soft vote adds up; use majority or weighted")


def _winner(
    letters: str, weights: Mapping[str, float] | None, sums: Mapping[str, float], cast: Cast
) -> tuple[str, Level]:
    """The letter and its level; without `weights` the first level is the log-probability."""
    *_, last = _steps(letters, weights, sums, cast)
    return last.left[0], last.level


def _steps(letters: str, weights: Mapping[str, float] | None, sums: Mapping[str, float], cast: Cast) -> Iterator[Step]:
    """The steps of a tally, to the one that leaves a single letter."""
    tied = tuple(letters)
    for level, scores in _scores(tied, weights, sums, cast):
        most = max(scores[letter] for letter in tied)
        left = tuple(letter for letter in tied if scores[letter] == most)
        yield Step(level, {letter: scores[letter] for letter in tied}, left)
        if len(left) == 1:
            return
        tied = left
    yield Step(Level.LETTER, {}, tied[:1])


def _scores(
    letters: Sequence[str], weights: Mapping[str, float] | None, sums: Mapping[str, float], cast: Cast
) -> Iterator[tuple[Level, Mapping[str, float]]]:
    """What each level compares, in order; at the level of members one comparison for those of equal merit."""
    if weights is not None:
        yield Level.MAJORITY, weights
    yield Level.LOGPROB, sums
    for _, group in groupby(cast, key=lambda pair: pair[0].merit):
        weighed = _voices(list(group))
        yield Level.MEMBER, {a: math.fsum(weight for named, weight in weighed if named == a) for a in letters}
