"""What a run came to: accuracies of members and vote, on validation and on gold. Prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nonet.questions.problem import LETTERS, Problem, Question
from nonet.runs.plan import Plan, QuestionSet
from nonet.stores.storage import Storage
from nonet.voting.aggregation import Aggregation, collect, validated
from nonet.voting.crossfit import Estimate, answers_of
from nonet.voting.labelled import Labelled, labelled
from nonet.voting.pairs import VOTE, Pair, pairs_of
from nonet.voting.score import Score
from nonet.voting.vote import VoteSpec


@dataclass(frozen=True, slots=True)
class MemberResult:
    """One adapter, its `weight` in the vote (None: it does not vote), its score on validation (None: unknown) and on
    gold (None: no gold given, or it was not asked what was decided without it).
    """

    name: str
    sources: tuple[str, ...]
    rows: int
    questions: int
    steps: int
    weight: float | None
    validated: Score | None
    test: Score | None

    @property
    def votes(self) -> bool:
        return self.weight is not None

    @property
    def validation(self) -> float | None:
        """Accuracy on validation."""
        return self.validated.accuracy if self.validated else None


@dataclass(frozen=True, slots=True)
class Results:
    """Members by merit, then the vote over them on the same questions.

    `estimate` holds the vote on validation, naive and cross-fitted. The pairs are every two of members and vote
    (`nonet.voting.pairs.VOTE`), on validation and on gold; () where there is none.
    """

    members: tuple[MemberResult, ...]
    estimate: Estimate
    vote_test: Score | None
    pairs_validation: tuple[Pair, ...] = ()
    pairs_test: tuple[Pair, ...] = ()

    @property
    def vote_validation(self) -> float | None:
        """Accuracy of the vote on validation by the voters that were chosen on it."""
        return self.estimate.naive.accuracy if self.estimate.naive else None

    @property
    def best(self) -> MemberResult | None:
        """The best single member on validation, the first where several are equal; None without validation."""
        known = [member for member in self.members if member.validation is not None]
        return max(known, key=lambda member: member.validation or 0.0, default=None)


def results_of(
    storage: Storage, plan: Plan, result: Aggregation, spec: VoteSpec, gold: Sequence[Problem] = ()
) -> Results:
    """The accuracies behind `result`; `gold` are the test's rows with answers, if there are any.

    Raises nonet.stores.storage.DamagedError.
    """
    cells = [cell for cell in plan.cells if storage.has(cell.scope, cell.key)]
    known = validated(storage, plan, cells)
    asked = labelled(gold, collect(storage, cells, QuestionSet.TEST))
    planned = {adapter.name: adapter for adapter in plan.adapters}
    weights = {member.name: member.weight for member in result.voters}
    names = [member.name for member in sorted(result.members, key=lambda member: (-member.merit, member.name))]
    members = tuple(
        MemberResult(
            name=name,
            sources=planned[name].learnt_from,
            rows=planned[name].rows,
            questions=planned[name].questions,
            steps=planned[name].steps,
            weight=weights.get(name),
            validated=known.score(known.letters_of(name)) if known.complete([name]) else None,
            test=asked.score(asked.letters_of(name)) if asked.gold and not asked.stopped(name) else None,
        )
        for name in names
    )
    voted = {verdict.question_id: verdict.letter for verdict in result.verdicts}
    complete = known.complete([member.name for member in result.voters])
    return Results(
        members,
        result.validation,
        asked.score(voted) if asked.gold else None,
        pairs_with(known, names, answers_of(spec, result.voters, known)) if complete else (),
        pairs_with(asked, names, voted),
    )


def pairs_with(known: Labelled, names: Sequence[str], voted: Mapping[str, str | None]) -> tuple[Pair, ...]:
    """Every two of the vote and those of `names` that have answered every question; the vote first."""
    answers = {name: known.letters_of(name) for name in names if known.complete([name])}
    return pairs_of({VOTE: voted, **answers}, known.gold)


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
