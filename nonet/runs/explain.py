"""Explanations: why a run answered a question as it did. Knows what the ballots and the mixes say; prints nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nonet.questions.mix import Example, read_examples
from nonet.questions.nearest import NearRow, nearest_rows
from nonet.questions.problem import Problem, Question
from nonet.runs.plan import Plan, QuestionSet
from nonet.stores.storage import Storage
from nonet.voting.aggregation import Aggregation, aggregate, collect, problems_of, spec_of
from nonet.voting.ballot import Ballot, Ballots
from nonet.voting.vote import Member, MissingBallotsError, Step, Verdict, steps_of

NEAREST = 3
"""Training rows shown of each mix."""


class NoQuestionError(ValueError):
    """No question, or more than one, is meant by what was given."""


@dataclass(frozen=True, slots=True)
class MemberBallot:
    """A member and its `ballot` on the question (None: it has not answered yet); `voter` is the member as it votes,
    with its weight and temperature, None where it does not vote.
    """

    name: str
    ballot: Ballot | None
    voter: Member | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One question of a run's test, and all that its verdict follows from.

    `verdict` and `steps` (how the tally came to it) are None and () where there is no vote yet; `gap` then says why.
    `members` stand in the order of merit, `nearest` holds by mix the training rows nearest to the stem.
    """

    run: str
    method: str
    problem: Problem
    question: Question
    shard: str
    gold: str | None
    members: tuple[MemberBallot, ...]
    verdict: Verdict | None
    steps: tuple[Step, ...]
    gap: str
    nearest: Mapping[str, tuple[NearRow, ...]]

    @property
    def right(self) -> bool | None:
        """Whether the verdict is the gold letter; None where one of them is not known."""
        return None if self.verdict is None or self.gold is None else self.verdict.letter == self.gold


@dataclass(frozen=True, slots=True)
class Contested:
    """A question and the verdict on it, one of those that were decided by the least; `gold` None where not known."""

    question: Question
    verdict: Verdict
    gold: str | None


def explain(storage: Storage, plan: Plan, wanted: str, gold: Mapping[str, str], most: int = NEAREST) -> Explanation:
    """Why the run of `plan` answered the question `wanted` (an id, or a unique beginning of one) as it did.

    `gold` has letters by question id, {} where nobody knows them; `most` nearest rows of each mix are looked up.
    Raises NoQuestionError, nonet.stores.storage.DamagedError, ValueError.
    """
    test = problems_of(storage, plan, QuestionSet.TEST)
    at, problem, question = _find(test, wanted, plan.run)
    shard = next(s for s in plan.shards_of(QuestionSet.TEST) if s.start <= at < s.stop)
    spec = spec_of(plan)
    vote, gap = _vote(storage, plan)
    present = [c for c in plan.cells if c.shard == shard and storage.has(c.scope, c.key)]
    ballots = collect(storage, present, QuestionSet.TEST)
    voters = vote.voters if vote else ()
    return Explanation(
        run=plan.run,
        method=spec.method,
        problem=problem,
        question=question,
        shard=shard.name,
        gold=gold.get(question.id),
        members=_members(plan, vote, ballots, question.id),
        verdict=next((v for v in vote.verdicts if v.question_id == question.id), None) if vote else None,
        steps=steps_of((question.id, question.letters), ballots, voters, spec) if vote else (),
        gap=gap,
        nearest=nearest_rows(problem.stem, mixes_of(storage, plan), most) if most else {},
    )


def contested(
    result: Aggregation, test: Sequence[Problem], gold: Mapping[str, str], most: int
) -> tuple[Contested, ...]:
    """The `most` questions of `test` that were decided by the least, the closest first."""
    asked = {question.id: question for problem in test for question in problem.questions}
    closest = sorted(result.verdicts, key=lambda verdict: verdict.margin)[:most]
    return tuple(Contested(asked[v.question_id], v, gold.get(v.question_id)) for v in closest)


def mixes_of(storage: Storage, plan: Plan) -> dict[str, tuple[Example, ...]]:
    """The examples of every mix of `plan`, by its name; raises nonet.stores.storage.DamagedInputError, ValueError."""
    inputs = {adapter.mix: adapter.input for adapter in plan.adapters if adapter.imported is None}
    return {mix: read_examples(storage.input_path(name)) for mix, name in inputs.items()}


def _vote(storage: Storage, plan: Plan) -> tuple[Aggregation | None, str]:
    try:
        return aggregate(storage, plan, spec_of(plan)), ""
    except MissingBallotsError as error:
        return None, str(error)


def _find(test: Sequence[Problem], wanted: str, run: str) -> tuple[int, Problem, Question]:
    asked = [(at, problem, question) for at, problem in enumerate(test) for question in problem.questions]
    found = [one for one in asked if one[2].id == wanted] or [one for one in asked if one[2].id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if not found:
        some = ", ".join(question.id for _, _, question in asked[:3])
        raise NoQuestionError(f"the test of {run} has no question {wanted!r}; its questions are {some}, …")
    names = ", ".join(question.id for _, _, question in found[:8])
    raise NoQuestionError(f"{wanted!r} may be {names}{', …' if len(found) > 8 else ''}; give more of it")


def _members(plan: Plan, vote: Aggregation | None, ballots: Ballots, question: str) -> tuple[MemberBallot, ...]:
    voters = {member.name: member for member in vote.voters} if vote else {}
    ranked = sorted(vote.members, key=lambda member: (-member.merit, member.name)) if vote else ()
    names = [member.name for member in ranked] or [adapter.name for adapter in plan.adapters]
    return tuple(MemberBallot(name, ballots.get(name, {}).get(question), voters.get(name)) for name in names)
