"""Pseudo-labels: the test of a run with the vote's answers, as a source for the next batch.

Knows the rows and their provenance. A row is the test's, with `"pseudo": {"run", "vote"}`; each of its questions has
its `answer`, the `margin` of the vote, and its `index` in the test's row, since questions below the margin asked for
are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nonet.questions.problem import Problem
from nonet.questions.rows import PSEUDO, problem_row
from nonet.voting.aggregation import Aggregation

DIGITS = 4
"""Digits of a margin in a file."""


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """The `rows`, `questions` of the test altogether, and how many are `kept`."""

    rows: tuple[dict[str, Any], ...]
    questions: int
    kept: int


def pseudo_labels(test: Sequence[Problem], vote: Aggregation, run: str, min_margin: float = 0.0) -> PseudoLabels:
    """The questions of `test` that the `vote` of `run` decided by `min_margin` or more; rows without any are left out.

    Raises KeyError where the vote is on another test.
    """
    letters = {verdict.question_id: verdict.letter for verdict in vote.verdicts}
    margins = {v.question_id: round(v.margin, DIGITS) for v in vote.verdicts}
    rows = []
    for problem in test:
        row = problem_row(problem, letters)
        entries = zip(row["questions"], (margins[question.id] for question in problem.questions), strict=True)
        row["questions"] = list(_kept(entries, min_margin))
        if row["questions"]:
            rows.append(row | {PSEUDO: {"run": run, "vote": vote.key}})
    return PseudoLabels(tuple(rows), len(margins), sum(len(row["questions"]) for row in rows))


def _kept(entries: Iterator[tuple[dict[str, Any], float]], min_margin: float) -> Iterator[dict[str, Any]]:
    for index, (entry, found) in enumerate(entries):
        if found >= min_margin:
            yield entry | {"margin": found, "index": index}
