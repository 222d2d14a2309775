"""The bases of a run side by side: what their members score and what they cost. Prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from nonet.questions.problem import Problem
from nonet.runs.plan import ADAPTERS, Cell, Plan, PlannedAdapter, QuestionSet
from nonet.stores.storage import Storage
from nonet.voting.aggregation import collect, validated
from nonet.voting.crossfit import answers_of
from nonet.voting.labelled import Labelled, labelled
from nonet.voting.vote import VoteSpec
from nonet.voting.voters import choose_voters, measured


@dataclass(frozen=True, slots=True)
class Accuracies:
    """Accuracies, 0..1, of a base's best member, its mean member and a vote of all its members."""

    best: float
    mean: float
    vote: float


@dataclass(frozen=True, slots=True)
class BaseResult:
    """One base: its accuracies on validation and on gold (None: unknown, or not all members have answered), the most
    memory (bytes) that a training and an answering process took (None: not recorded), and seconds a question of one
    member while answering, without loading.
    """

    name: str
    model: str
    engine: str
    members: int
    validation: Accuracies | None
    test: Accuracies | None
    training_memory: int | None
    answering_memory: int | None
    seconds: float | None


def base_results(storage: Storage, plan: Plan, spec: VoteSpec, gold: Sequence[Problem] = ()) -> tuple[BaseResult, ...]:
    """Every base of `plan`; each votes with all of its own members by the method of `spec`. `gold` are the test's rows
    with answers, if there are any. Raises nonet.stores.storage.DamagedError.
    """
    cells = [cell for cell in plan.cells if storage.has(cell.scope, cell.key)]
    known = validated(storage, plan, cells)
    asked = labelled(gold, collect(storage, cells, QuestionSet.TEST))
    whole = VoteSpec(method=spec.method)
    found = []
    for base in plan.bases:
        adapters = plan.adapters_of(base)
        names = [adapter.name for adapter in adapters]
        costs = _costs(storage, [cell for cell in cells if cell.adapter.base == base.name])
        found.append(
            BaseResult(
                name=base.name,
                model=base.model.model,
                engine=base.engine,
                members=len(names),
                validation=_accuracies(whole, names, known, known),
                test=_accuracies(whole, names, known, asked),
                training_memory=_training_memory(storage, adapters),
                answering_memory=costs[0],
                seconds=costs[1],
            )
        )
    return tuple(found)


def _accuracies(spec: VoteSpec, names: Sequence[str], known: Labelled, asked: Labelled) -> Accuracies | None:
    """On `asked`, by voters that are fitted on `known`."""
    single = [accuracy for name in names if (accuracy := asked.accuracy(name)) is not None]
    if len(single) < len(names) or not asked.gold:
        return None
    try:
        voters = choose_voters(spec, measured(names, known), known)
    except ValueError:  # a method that is fitted on validation, and none is there
        voters = choose_voters(VoteSpec(), measured(names, known), known)
    vote = asked.score(answers_of(spec, voters, asked))
    return Accuracies(max(single), fmean(single), vote.correct / vote.total)


def _training_memory(storage: Storage, adapters: Iterable[PlannedAdapter]) -> int | None:
    commits = [storage.record(ADAPTERS, adapter.key) for adapter in adapters]
    sizes = [c.body.get("training", {}).get("peak_memory_bytes") for c in commits if c is not None]
    return max((size for size in sizes if size is not None), default=None)


def _costs(storage: Storage, cells: Iterable[Cell]) -> tuple[int | None, float | None]:
    """(most memory, seconds a question) of the cells that have it on record."""
    bodies = [(cell, commit.body) for cell in cells if (commit := storage.record(cell.scope, cell.key)) is not None]
    timed = [(cell.shard.questions, body["seconds"]) for cell, body in bodies if "seconds" in body]
    sizes = [body["peak_memory_bytes"] for _, body in bodies if "peak_memory_bytes" in body]
    questions = sum(count for count, _ in timed)
    return max(sizes, default=None), sum(seconds for _, seconds in timed) / questions if questions else None
