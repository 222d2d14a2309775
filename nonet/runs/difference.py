"""What changed between two runs, and what changed in their submissions by it. Prints nothing.

A verdict that differs is explained by counterfactual votes: the first run's vote with one thing of the second (the
ballots of the members that both have; who votes; how it is counted) put in its place. What changes the letter by
itself is a cause of the change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from nonet.questions.problem import LETTERS
from nonet.runs.plan import Plan, PlannedAdapter, QuestionSet
from nonet.runs.plan_changes import Change, matched, plan_changes, reasons
from nonet.stores.storage import Storage
from nonet.voting.aggregation import aggregate, collect, problems_of, spec_of
from nonet.voting.ballot import Ballot, Ballots
from nonet.voting.pairs import compared
from nonet.voting.score import Score
from nonet.voting.statistics import PairedTest
from nonet.voting.vote import Member, MissingBallotsError, Verdict, VoteSpec, tally


class Cause(StrEnum):
    """What made a verdict another one."""

    BALLOTS = "ballots"
    """Members of both runs answer otherwise."""
    MEMBERS = "members"
    """Other members vote."""
    COUNTING = "counting"
    """Ballots are counted or weighed otherwise."""
    TOGETHER = "together"
    """None of these alone, but several of them together."""
    UNKNOWN = "unknown"
    """It cannot be told: a vote that would tell needs ballots that members were not asked for, or log-probabilities."""
    QUESTION = "question"
    """The question itself is another one in the two tests."""


@dataclass(frozen=True, slots=True)
class ChangedVerdict:
    """A question on which two runs differ: both verdicts, why, the members of both whose letter changed ((first,
    second) by name in the first run), and the gold letter (None: not known).
    """

    question_id: str
    first: Verdict
    second: Verdict
    causes: tuple[Cause, ...]
    ballots: Mapping[str, tuple[str | None, str | None]]
    gold: str | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """A member of both runs: its names in them, how many of its letters on the shared questions `changed`, the part of
    them that did not (`agreement`, 0..1), and the places in the batch of what makes its ballots others.
    """

    first: str
    second: str
    agreement: float
    changed: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """Both submissions on the same questions with gold, and McNemar's exact test of them."""

    first: Score
    second: Score
    test: PairedTest


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What two votes come to on the `shared` questions. `identical`: the submissions are the same to the byte."""

    shared: int
    only_first: int
    only_second: int
    identical: bool
    changed: tuple[ChangedVerdict, ...]
    members: tuple[Agreement, ...]
    joined: tuple[str, ...]
    left: tuple[str, ...]
    scores: Scores | None


@dataclass(frozen=True, slots=True)
class Difference:
    """`first` and `second` run, what changed in the plan, and what changed in the verdicts (None: one of them has not
    voted yet; `gap` says why).
    """

    first: str
    second: str
    changes: tuple[Change, ...]
    verdicts: Verdicts | None
    gap: str


def difference(storage: Storage, first: Plan, second: Plan, gold: Mapping[str, str]) -> Difference:
    """What changed from the run of `first` to that of `second`; `gold` has letters by question id, {} where unknown.

    Raises nonet.stores.storage.DamagedError, ValueError.
    """
    changes = tuple(plan_changes(first, second))
    try:
        one, other = _side(storage, first, {}), _side(storage, second, _names_in_first(first, second))
    except MissingBallotsError as error:
        return Difference(first.run, second.run, changes, None, str(error))
    return Difference(first.run, second.run, changes, _verdicts(first, second, one, other, gold), "")


@dataclass(frozen=True, slots=True)
class _Side:
    """A run's vote; members go by their names in the first run. `asked` has what a question is, by its id."""

    submission: bytes
    spec: VoteSpec
    voters: Mapping[str, Member]
    ballots: Ballots
    asked: Mapping[str, tuple[str, str, tuple[str, ...]]]
    verdicts: Mapping[str, Verdict]

    @property
    def letters(self) -> dict[str, str | None]:
        return {name: verdict.letter for name, verdict in self.verdicts.items()}


def _names_in_first(first: Plan, second: Plan) -> dict[str, str]:
    """What each member of the second run is called here: as in the first run, if that has it."""
    names = {there.name: here.name for here, there in matched(first, second)}
    taken = {adapter.name for adapter in first.adapters}
    for adapter in second.adapters:
        names.setdefault(adapter.name, f"{adapter.name} (second)" if adapter.name in taken else adapter.name)
    return names


def _side(storage: Storage, plan: Plan, names: Mapping[str, str]) -> _Side:
    spec = spec_of(plan)
    vote = aggregate(storage, plan, spec)
    present = [cell for cell in plan.cells if storage.has(cell.scope, cell.key)]
    ballots = collect(storage, present, QuestionSet.TEST)
    test = problems_of(storage, plan, QuestionSet.TEST)
    renamed = (replace(voter, name=names.get(voter.name, voter.name)) for voter in vote.voters)
    return _Side(
        submission=vote.submission,
        spec=spec,
        voters={voter.name: voter for voter in renamed},
        ballots={names.get(name, name): cast for name, cast in ballots.items()},
        asked={q.id: (p.stem, q.text, q.options) for p in test for q in p.questions},
        verdicts={verdict.question_id: verdict for verdict in vote.verdicts},
    )


def _verdicts(first: Plan, second: Plan, one: _Side, other: _Side, gold: Mapping[str, str]) -> Verdicts:
    shared = [name for name in one.asked if name in other.asked]
    known = {name: gold[name] for name in shared if name in gold}
    counted = _counterfactuals(one, other, [name for name in shared if one.asked[name] == other.asked[name]])
    changed = (
        _changed(name, one, other, counted, known.get(name))
        for name in shared
        if one.verdicts[name].letter != other.verdicts[name].letter
    )
    return Verdicts(
        shared=len(shared),
        only_first=len(one.asked) - len(shared),
        only_second=len(other.asked) - len(shared),
        identical=one.submission == other.submission,
        changed=tuple(changed),
        members=tuple(
            _agreement(pair, reasons(first, pair[0], second, pair[1]), one, other, shared)
            for pair in matched(first, second)
        ),
        joined=tuple(name for name in other.voters if name not in one.voters),
        left=tuple(name for name in one.voters if name not in other.voters),
        scores=_scores(one, other, known) if known else None,
    )


def _counterfactuals(one: _Side, other: _Side, questions: Sequence[str]) -> dict[Cause, dict[str, str]]:
    """Letters of the first vote on `questions` with one thing of the second in its place, by that thing."""
    both = {name: other.ballots.get(name, cast) for name, cast in one.ballots.items()}
    who = {name: one.voters.get(name, voter) for name, voter in other.voters.items()}
    how = {name: other.voters.get(name, voter) for name, voter in one.voters.items()}
    votes = {
        Cause.BALLOTS: (both, one.voters, one.spec),
        Cause.MEMBERS: ({**other.ballots, **one.ballots}, who, one.spec),
        Cause.COUNTING: (one.ballots, how, other.spec),
    }
    letters = [(name, LETTERS[: len(one.asked[name][2])]) for name in questions]
    found: dict[Cause, dict[str, str]] = {cause: {} for cause in votes}
    for cause, (ballots, voters, spec) in votes.items():
        counted = VoteSpec(spec.method, allow_partial=True, quorum=1)
        for question in letters:
            with suppress(ValueError):  # no such vote can be held: some were not asked, or gave no log-probabilities
                (verdict,) = tally([question], ballots, tuple(voters.values()), counted)
                found[cause][verdict.question_id] = verdict.letter
    return found


def _changed(
    name: str, one: _Side, other: _Side, counted: Mapping[Cause, Mapping[str, str]], gold: str | None
) -> ChangedVerdict:
    here, there = one.verdicts[name], other.verdicts[name]
    if one.asked[name] != other.asked[name]:
        causes: tuple[Cause, ...] = (Cause.QUESTION,)
    else:
        alone = tuple(cause for cause, letters in counted.items() if letters.get(name) == there.letter)
        told = all(name in letters for letters in counted.values())
        causes = alone or (Cause.TOGETHER if told else Cause.UNKNOWN,)
    ballots = {}
    for member, cast in one.ballots.items():
        again = other.ballots.get(member, {})
        if _asked(name, cast, again) and cast[name].letter != again[name].letter:
            ballots[member] = (cast[name].letter, again[name].letter)
    return ChangedVerdict(name, here, there, causes, ballots, gold)


def _agreement(
    pair: tuple[PlannedAdapter, PlannedAdapter],
    why: tuple[str, ...],
    one: _Side,
    other: _Side,
    shared: Sequence[str],
) -> Agreement:
    here, there = pair
    casts = one.ballots.get(here.name, {}), other.ballots.get(here.name, {})
    both = [name for name in shared if _asked(name, *casts)]
    changed = sum(casts[0][name].letter != casts[1][name].letter for name in both)
    part = 1 - changed / len(both) if both else 1.0
    return Agreement(here.name, there.name, part, changed, why)


def _asked(name: str, *casts: Mapping[str, Ballot]) -> bool:
    """Whether each of `casts` has a ballot on a question, and not for want of being asked."""
    return all(name in cast and cast[name].asked for cast in casts)


def _scores(one: _Side, other: _Side, gold: Mapping[str, str]) -> Scores:
    def score(side: _Side) -> Score:
        return Score(sum(side.letters[name] == letter for name, letter in gold.items()), len(gold), 0)

    return Scores(score(one), score(other), compared(one.letters, other.letters, gold))
