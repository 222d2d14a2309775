"""What a report tells, read from storage. Knows no page and no picture."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nonet.questions.problem import Problem, Question, split_questions
from nonet.report.timeline import Span, Unit, Work, spans_of
from nonet.runs.attempt import Attempt, Attempts, Outcome
from nonet.runs.plan import ADAPTERS, GOLD, Plan, QuestionSet
from nonet.runs.results import Floor, Results, floor_of, results_of
from nonet.runs.run_score import remembered_gold, vote_of
from nonet.stores.storage import Storage
from nonet.voting.aggregation import Aggregation, aggregate, collect, problems_of, spec_of
from nonet.voting.ballot import Ballots
from nonet.voting.vote import MissingBallotsError


@dataclass(frozen=True, slots=True)
class Training:
    """How an adapter came to be: the `run` that trained it (None: not known), its figures as committed, and the
    (step, loss) of each step.
    """

    run: str | None
    figures: Mapping[str, Any]
    losses: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a vote came to: its verdicts, the accuracies, and the floors that need no model, by question set."""

    vote: Aggregation
    results: Results
    floors: Mapping[QuestionSet, Floor | None]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything about a run that its report shows.

    `outcomes` is None where there is no vote yet; `gap` then says why. `gold` holds the test's letters by question
    id, {} unless somebody has scored the run. `reused` counts, by adapter, the cells that another run answered.
    """

    plan: Plan
    batch: str
    outcomes: Outcomes | None
    gap: str
    test: tuple[Problem, ...]
    gold: Mapping[str, str]
    ballots: Ballots
    trainings: Mapping[str, Training]
    spans: tuple[Span, ...]
    reused: Mapping[str, int]

    @property
    def questions(self) -> tuple[Question, ...]:
        return split_questions(self.test)

    @property
    def reused_adapters(self) -> tuple[str, ...]:
        """Names of the adapters that another run trained."""
        return tuple(name for name, found in self.trainings.items() if found.run not in (None, self.plan.run))


def read_facts(storage: Storage, attempts: Attempts, plan: Plan) -> Facts:
    """The facts of the run of `plan` now; raises OSError, nonet.stores.storage.DamagedError, ValueError."""
    gold = remembered_gold(storage, plan)
    outcomes, gap = None, ""
    try:
        outcomes = _outcomes(storage, plan, gold)
    except MissingBallotsError as error:
        gap = str(error)
    histories = [(unit, attempt) for unit in _units(storage, plan) for attempt in attempts.history(unit.key)]
    makers = {attempt.key: attempt.run for _, attempt in histories if attempt.outcome is Outcome.COMMITTED}
    cells = [cell for cell in plan.cells if storage.has(cell.scope, cell.key)]
    return Facts(
        plan=plan,
        batch=_batch_text(storage, plan),
        outcomes=outcomes,
        gap=gap,
        test=problems_of(storage, plan, QuestionSet.TEST),
        gold={q.id: q.gold for q in split_questions(gold) if q.gold is not None},
        ballots=collect(storage, cells, QuestionSet.TEST),
        trainings=dict(_trainings(storage, plan, makers)),
        spans=spans_of(histories, plan.run),
        reused=Counter(cell.adapter.name for cell in cells if makers.get(cell.key, plan.run) != plan.run),
    )


def _batch_text(storage: Storage, plan: Plan) -> str:
    try:
        return storage.store.read(storage.home.batch_text(plan.run)).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _outcomes(storage: Storage, plan: Plan, gold: Sequence[Problem]) -> Outcomes:
    spec = spec_of(plan)
    vote = aggregate(storage, plan, spec)
    validation = floor_of(split_questions(problems_of(storage, plan, GOLD)))
    floors = {QuestionSet.VALIDATION: validation, QuestionSet.TEST: floor_of(split_questions(gold))}
    return Outcomes(vote, results_of(storage, plan, vote, spec, gold), floors)


def _units(storage: Storage, plan: Plan) -> Iterator[Unit]:
    yield from (Unit(a.key, a.name, Work.TRAIN) for a in plan.adapters)
    yield from (Unit(c.key, c.name, Work.INFER) for c in plan.cells)
    vote = vote_of(storage, plan)
    if vote is not None:
        yield Unit(vote, "vote", Work.VOTE)


def _trainings(storage: Storage, plan: Plan, makers: Mapping[str, str]) -> Iterator[tuple[str, Training]]:
    for adapter in plan.adapters:
        commit = storage.record(ADAPTERS, adapter.key)
        if commit is not None:
            losses = storage.content(commit, "losses.json")
            figures = commit.body.get("training", {})
            yield adapter.name, Training(makers.get(adapter.key), figures, losses_of(losses))


def losses_of(data: bytes | None) -> tuple[tuple[int, float], ...]:
    """(step, loss) of each step, from an adapter's losses.json; () where there is none, or it cannot be read."""
    try:
        return tuple((int(step), float(loss)) for step, loss, *_ in json.loads(data or b"[]"))
    except (ValueError, TypeError):
        return ()


def failures(spans: Sequence[Span]) -> tuple[tuple[Unit, Attempt], ...]:
    """Every attempt that ended without a result, in the order of their start."""
    return tuple((span.unit, span.attempt) for span in spans if not span.committed and span.stop is not None)
