"""What a run came to: accuracies of members and vote, on validation and on gold. Prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nonet.aggregation import Aggregation, Ballots, collect, gold_of
from nonet.plan import Plan, QuestionSet
from nonet.problem import LETTERS, Problem, Question, split_questions
from nonet.rows import read_problems
from nonet.score import Score, score_answers
from nonet.storage import Storage
from nonet.vote import VoteSpec, tally


@dataclass(frozen=True, slots=True)
class MemberResult:
    """One adapter: its accuracy on validation (None: unknown) and its score on gold (None: no gold given)."""

    name: str
    sources: tuple[str, ...]
    rows: int
    questions: int
    steps: int
    votes: bool
    validation: float | None
    test: Score | None


@dataclass(frozen=True, slots=True)
class Results:
    """Members by merit, then the vote over them on the same questions."""

    members: tuple[MemberResult, ...]
    vote_validation: float | None
    vote_test: Score | None

    @property
    def best(self) -> MemberResult | None:
        """The best single member on validation, the first where several are equal; None without validation."""
        known = [member for member in self.members if member.validation is not None]
        return max(known, key=lambda member: member.validation or 0.0, default=None)


def results_of(
    storage: Storage, plan: Plan, result: Aggregation, spec: VoteSpec, gold: Sequence[Problem] = ()
) -> Results:
    """The accuracies behind `result`; `gold` are the test's rows with answers, if there are any.

    Raises nonet.storage.DamagedError.
    """
    cells = [cell for cell in plan.cells if storage.has(cell.scope, cell.key)]
    cast = collect(storage, cells, QuestionSet.TEST)
    measured = collect(storage, cells, QuestionSet.VALIDATION)
    planned = {adapter.name: adapter for adapter in plan.adapters}
    voters = {member.name for member in result.voters}
    questions = split_questions(gold)
    members = []
    for member in result.members:
        adapter = planned[member.name]
        members.append(
            MemberResult(
                name=member.name,
                sources=adapter.sources,
                rows=adapter.rows,
                questions=adapter.questions,
                steps=adapter.steps,
                votes=member.name in voters,
                validation=member.validation,
                test=member_score(cast, member.name, questions) if questions else None,
            )
        )
    merit = sorted(members, key=lambda found: (-(found.validation if found.validation is not None else -1), found.name))
    answers: dict[str, str | None] = {verdict.question_id: verdict.letter for verdict in result.verdicts}
    vote_test = score_answers(answers, questions) if questions else None
    return Results(tuple(merit), _validated(storage, plan, measured, result, spec), vote_test)


def member_score(cast: Ballots, name: str, questions: Sequence[Question]) -> Score:
    """The score of one member's own answers to `questions`; an abstention is wrong."""
    known = {question.id for question in questions}
    ballots = cast.get(name, {})
    return score_answers({found: ballot.letter for found, ballot in ballots.items() if found in known}, questions)


def _validated(storage: Storage, plan: Plan, cast: Ballots, result: Aggregation, spec: VoteSpec) -> float | None:
    """Accuracy of the vote on the validation questions; None where there are none, or ballots are missing there."""
    gold = gold_of(storage, plan)
    letters = {q.id: q.letters for q in validation_questions(storage, plan) if q.id in gold}
    complete = all(question in cast.get(voter.name, {}) for voter in result.voters for question in letters)
    if not letters or not complete:
        return None
    verdicts = tally(list(letters.items()), cast, result.voters, spec)
    return sum(verdict.letter == gold[verdict.question_id] for verdict in verdicts) / len(letters)


def validation_questions(storage: Storage, plan: Plan) -> tuple[Question, ...]:
    """The validation questions of a run; raises DamagedError, ValueError."""
    name = plan.inputs[QuestionSet.VALIDATION]
    storage.read_input(name)
    problems, _ = read_problems(storage.home.input(name), labelled=False)
    return split_questions(problems)


@dataclass(frozen=True, slots=True)
class Floor:
    """What needs no model: always the `letter` that is commonest in the gold, and picking at random (expected)."""

    letter: str
    commonest: float
    chance: float


def floor_of(questions: Sequence[Question]) -> Floor | None:
    """The floor of labelled `questions`; None where none has gold."""
    labelled = [question for question in questions if question.gold is not None]
    if not labelled:
        return None
    counts: Mapping[str | None, int] = Counter(question.gold for question in labelled)
    letter = max(LETTERS, key=lambda found: (counts.get(found, 0), -LETTERS.index(found)))
    chance = sum(1 / len(question.options) for question in labelled) / len(labelled)
    return Floor(letter, counts.get(letter, 0) / len(labelled), chance)
