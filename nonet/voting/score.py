"""Scores: answers against gold.

Knows accuracy over questions, matched on (id, index) and never by line. Reads no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nonet.questions.problem import Problem, Question, split_questions
from nonet.voting.statistics import Interval, wilson


@dataclass(frozen=True, slots=True)
class Score:
    """`correct` of `total` questions that have gold; `missing` of them have no answer and count as wrong;
    `extra` answers are for questions without gold and count for nothing.
    """

    correct: int
    total: int
    missing: int
    extra: int = 0

    @property
    def accuracy(self) -> float | None:
        """correct / total, 0..1; None where nothing could be scored."""
        return self.correct / self.total if self.total else None

    @property
    def interval(self) -> Interval | None:
        """Wilson's 95 % interval of the accuracy; None where nothing could be scored."""
        return wilson(self.correct, self.total)

    def to_json(self) -> dict[str, Any]:
        """`{"accuracy", "interval": [low, high], "correct", "total", "missing"}`; null for what is None."""
        interval = None if self.interval is None else [self.interval.low, self.interval.high]
        counts = {"correct": self.correct, "total": self.total, "missing": self.missing}
        return {"accuracy": self.accuracy, "interval": interval, **counts}


def score_answers(answers: Mapping[str, str | None], questions: Iterable[Question]) -> Score:
    """Score letters by question id (None: an abstention, as good as missing) against the gold of
    `questions`.
    """
    gold = {question.id: question.gold for question in questions if question.gold is not None}
    correct = sum(answers.get(question_id) == letter for question_id, letter in gold.items())
    missing = sum(answers.get(question_id) is None for question_id in gold)
    extra = sum(letter is not None and question_id not in gold for question_id, letter in answers.items())
    return Score(correct, len(gold), missing, extra)


def row_answers(rows: Iterable[Mapping[str, Any]]) -> dict[str, str | None]:
    """Letters by question id from a submission's rows (see `nonet.questions.submission.read_submission`), in whatever
    order.

    Raises ValueError where two rows have one id.
    """
    answers: dict[str, str | None] = {}
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            raise ValueError(f"two rows of the submission have the id {row['id']!r}")
        seen.add(row["id"])
        for index, entry in enumerate(row["questions"]):
            answers[f"{row['id']}#{index}"] = entry["answer"]
    return answers


def score_rows(rows: Iterable[Mapping[str, Any]], gold_problems: Iterable[Problem]) -> Score:
    """Score a submission's rows; raises ValueError where two have one id."""
    return score_answers(row_answers(rows), split_questions(gold_problems))
