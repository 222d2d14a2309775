"""Records as pandas tables. Knows columns; pandas is imported when a table is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import exp, nan
from typing import TYPE_CHECKING, Any

from nonet.questions.problem import LETTERS, split_questions
from nonet.runs.plan import GOLD, Plan, QuestionSet
from nonet.runs.results import Results
from nonet.stores.storage import Storage
from nonet.voting.aggregation import collect, problems_of
from nonet.voting.score import Score
from nonet.voting.vote import Verdict
from scheduler.state import RunState

if TYPE_CHECKING:
    from pandas import DataFrame


def ballots_frame(storage: Storage, plan: Plan, questions: QuestionSet) -> DataFrame:
    """A row for each ballot: member, question, letter, reason, and p_A, p_B, … of its options; on validation also gold.

    Raises nonet.stores.storage.DamagedError.
    """
    from pandas import DataFrame

    cells = [cell for cell in plan.cells if storage.has(cell.scope, cell.key)]
    known = problems_of(storage, plan, GOLD) if questions is QuestionSet.VALIDATION else ()
    gold = {question.id: question.gold for question in split_questions(known)}
    rows = [
        {"member": name, "question": ballot.question_id, "letter": ballot.letter, "reason": ballot.reason}
        | ({"gold": gold[ballot.question_id]} if gold else {})
        | {f"p_{LETTERS[at]}": exp(value) for at, value in enumerate(ballot.logprobs)}
        for name, cast in collect(storage, cells, questions).items()
        for ballot in cast.values()
    ]
    columns = ["member", "question", "letter", "reason"]
    return DataFrame(rows) if rows else DataFrame(columns=columns)


def verdicts_frame(verdicts: Sequence[Verdict], gold: Mapping[str, str]) -> DataFrame:
    """A row for each question: letter, level, margin, votes_A, votes_B, …, abstentions; gold and right where known."""
    from pandas import DataFrame

    letters = sorted({letter for verdict in verdicts for letter in verdict.votes})

    def row(verdict: Verdict) -> Iterator[tuple[str, Any]]:
        yield from (("question", verdict.question_id), ("letter", verdict.letter), ("level", verdict.level.value))
        yield "margin", verdict.margin
        yield from ((f"votes_{letter}", verdict.votes.get(letter, 0)) for letter in letters)
        yield "abstentions", verdict.abstentions
        if gold:
            yield "gold", gold.get(verdict.question_id)
            yield "right", verdict.letter == gold.get(verdict.question_id)

    return DataFrame([dict(row(verdict)) for verdict in verdicts])


def members_frame(results: Results) -> DataFrame:
    """A row for each member by merit, then the vote: weight (NaN: does not vote), sources, and of validation and test
    the accuracy with the ends of its 95 % interval (NaN: not known).
    """
    from pandas import DataFrame

    rows: list[dict[str, object]] = [
        {"name": m.name, "weight": m.weight, "sources": " + ".join(m.sources), "questions": m.questions}
        | _score("validation", m.validated)
        | _score("test", m.test)
        for m in results.members
    ]
    vote: dict[str, object] = {"name": "the vote", "weight": nan, "sources": "", "questions": nan}
    rows.append(vote | _score("validation", results.estimate.naive) | _score("test", results.vote_test))
    return DataFrame(rows)


def _score(name: str, score: Score | None) -> dict[str, object]:
    interval = score.interval if score else None
    return {
        name: nan if score is None or score.accuracy is None else score.accuracy,
        f"{name}_low": nan if interval is None else interval.low,
        f"{name}_high": nan if interval is None else interval.high,
    }


def cells_frame(state: RunState) -> DataFrame:
    """A row for each cell, shard by shard: adapter, shard, questions, state, attempts, error (None: none)."""
    from pandas import DataFrame

    return DataFrame(
        [
            {
                "adapter": cell.adapter.name,
                "shard": cell.shard.name,
                "set": cell.shard.set.value,
                "questions": cell.shard.questions,
                "state": unit.state.value,
                "attempts": unit.attempts,
                "error": unit.last.error if unit.last else None,
            }
            for cell, unit in zip(state.plan.cells, state.cells, strict=True)
        ]
    )
