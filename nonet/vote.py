"""The vote: ballots counted into verdicts.

Knows who votes, how ties break and at which level. Knows no file: submissions are in `nonet.submission`.

Levels, each only for what the one before left tied: most votes; the highest sum of log-probabilities over all
ballots that hold them; the ballot of the better member on validation; the earlier letter. The order in
which members are listed decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Literal

from nonet.ballot import Ballot

IDS_SHOWN = 5


class Level(StrEnum):
    """What decided a verdict."""

    MAJORITY = "majority"
    LOGPROB = "logprob"
    MEMBER = "member"
    LETTER = "letter"


@dataclass(frozen=True, slots=True)
class Member:
    """An adapter that votes, and its accuracy on validation (0..1), None where unknown."""

    name: str
    validation: float | None = None


@dataclass(frozen=True, slots=True)
class VoteSpec:
    """How to vote: `members` voters (None: all), selected by validation, all, or by name; a `quorum` of
    ballots a question where `allow_partial`.
    """

    method: Literal["majority"] = "majority"
    members: int | None = None
    select: Literal["validation", "all"] | tuple[str, ...] = "all"
    allow_partial: bool = False
    quorum: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one question, the level that decided it, `votes` by letter (only letters with votes), the
    number of abstentions, and of members without a ballot (0 unless the vote is partial).
    """

    question_id: str
    letter: str
    level: Level
    votes: dict[str, int]
    abstentions: int
    missing: int = 0


class MissingBallotsError(ValueError):
    """Some members have no ballot for some questions; `missing` maps member names to question ids."""

    def __init__(self, missing: Mapping[str, tuple[str, ...]], why: str) -> None:
        self.missing = dict(missing)
        super().__init__(why)


def choose_members(spec: VoteSpec, members: Sequence[Member]) -> tuple[Member, ...]:
    """The members that vote, in order of merit: by validation, best first, then by name.

    Raises ValueError where a name is unknown or there are fewer than `spec.members`; and, for select
    "validation" with fewer seats than members, where a member has no validation score (a partial vote ranks
    it last instead).
    """
    if isinstance(spec.select, tuple):
        by_name = {member.name: member for member in members}
        unknown = [name for name in spec.select if name not in by_name]
        if unknown:
            raise ValueError(f"no such members to select: {', '.join(unknown)}; there are {', '.join(by_name)}")
        members = [by_name[name] for name in dict.fromkeys(spec.select)]
    ranked = sorted(members, key=lambda member: (-_merit(member), member.name))
    seats = len(ranked) if spec.members is None else spec.members
    if not ranked or seats > len(ranked):
        raise ValueError(f"{seats} members are to vote, but there are {len(ranked)}")
    if seats == len(ranked):
        return tuple(ranked)
    if spec.select != "validation":
        raise ValueError(f"{seats} members are to vote, but select gives {len(ranked)}: select by validation")
    unscored = [member.name for member in ranked if member.validation is None]
    if unscored and not spec.allow_partial:
        raise ValueError(f"cannot select by validation: no score for {', '.join(unscored)}; finish their validation")
    return tuple(ranked[:seats])


def _merit(member: Member) -> float:
    return -1.0 if member.validation is None else member.validation


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
    name and question id; `members` those that vote (see `choose_members`).

    Raises MissingBallotsError where a member has no ballot for a question; in a partial vote, where a
    question has fewer than `spec.quorum` ballots. Raises ValueError for a ballot that does not fit its
    question, repeated members or questions, no members, and a partial vote without quorum.
    """
    _check(questions, members, spec)
    _check_complete(questions, ballots, members, spec)
    ranked = sorted(members, key=lambda member: (-_merit(member), member.name))
    return tuple(_decide(question_id, letters, ballots, ranked) for question_id, letters in questions)


def _check(questions: Sequence[tuple[str, str]], members: Sequence[Member], spec: VoteSpec) -> None:
    if not members:
        raise ValueError("a vote needs a member")
    if len({member.name for member in members}) < len(members):
        raise ValueError(f"a member would vote twice: {', '.join(member.name for member in members)}")
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


def _decide(
    question_id: str, letters: str, ballots: Mapping[str, Mapping[str, Ballot]], ranked: Sequence[Member]
) -> Verdict:
    cast = [
        (member, ballots[member.name][question_id]) for member in ranked if question_id in ballots.get(member.name, {})
    ]
    for member, ballot in cast:
        _check_ballot(member, ballot, question_id, letters)
    counts = {letter: sum(ballot.letter == letter for _, ballot in cast) for letter in letters}
    letter, level = _winner(letters, counts, cast)
    votes = {letter: count for letter, count in counts.items() if count}
    abstentions = sum(ballot.letter is None for _, ballot in cast)
    return Verdict(question_id, letter, level, votes, abstentions, len(ranked) - len(cast))


def _check_ballot(member: Member, ballot: Ballot, question_id: str, letters: str) -> None:
    place = f"ballot of {member.name} on {question_id}"
    if ballot.question_id != question_id:
        raise ValueError(f"{place} is for {ballot.question_id}")
    if ballot.letter is not None and ballot.letter not in letters:
        raise ValueError(f"{place} names {ballot.letter!r}, which is not one of {letters}")
    if len(ballot.logprobs) not in (0, len(letters)):
        raise ValueError(f"{place} holds {len(ballot.logprobs)} log-probabilities for {len(letters)} options")


def _winner(letters: str, counts: Mapping[str, int], cast: Sequence[tuple[Member, Ballot]]) -> tuple[str, Level]:
    tied = [letter for letter in letters if counts[letter] == max(counts.values())]
    if len(tied) == 1:
        return tied[0], Level.MAJORITY
    sums = {
        letter: math.fsum(ballot.logprobs[letters.index(letter)] for _, ballot in cast if ballot.logprobs)
        for letter in tied
    }
    tied = [letter for letter in tied if sums[letter] == max(sums.values())]
    if len(tied) == 1:
        return tied[0], Level.LOGPROB
    for _, group in groupby(cast, key=lambda pair: _merit(pair[0])):
        named = [ballot.letter for _, ballot in group]
        most = max(named.count(letter) for letter in tied)
        tied = [letter for letter in tied if named.count(letter) == most]
        if len(tied) == 1:
            return tied[0], Level.MEMBER
    return tied[0], Level.LETTER
