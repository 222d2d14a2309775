"""Problems and their questions, as the competition's rows hold them.

Knows how a row splits into questions and how questions regroup into rows. Knows no file and no label's
origin.

A question is named by `(problem id, position in its row)`. The number that its text may open with
("选择题 3：") is never parsed: in real rows it differs from the position.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class Question:
    """One single-choice question: `options` has 2 to 10 texts, lettered by position; two may be the same
    text.

    `gold` is the labelled letter, or None where the row holds no answer; `margin` (0..1) how sure that label is,
    None where the row does not say (see `nonet.voting.vote.Verdict`).
    """

    problem_id: str
    index: int
    text: str
    options: tuple[str, ...]
    gold: str | None = None
    margin: float | None = None

    @property
    def id(self) -> str:
        """`problem_id#index`, unique within a file; index counts from 0."""
        return f"{self.problem_id}#{self.index}"

    @property
    def letters(self) -> str:
        """The letters of the options, "ABCD" for four."""
        return LETTERS[: len(self.options)]


@dataclass(frozen=True, slots=True)
class Problem:
    """One row: a stem (the shared text) and its questions, in the row's order.

    `run` is the run whose vote answered them, where the labels are pseudo-labels; None for all others.
    """

    id: str
    stem: str
    questions: tuple[Question, ...]
    run: str | None = None


def split_questions(problems: Iterable[Problem]) -> tuple[Question, ...]:
    """All questions of all problems, in order."""
    return tuple(question for problem in problems for question in problem.questions)


def regroup(questions: Iterable[Question], stems: Mapping[str, str]) -> tuple[Problem, ...]:
    """Put questions back under their problems: the inverse of `split_questions`, whatever order they come in.

    Problems come in the order of `stems` (problem id to stem); questions by index.
    Raises ValueError for a question of an unknown problem, and where indexes repeat or have a gap.
    """
    groups: dict[str, list[Question]] = {problem_id: [] for problem_id in stems}
    for question in questions:
        if question.problem_id not in groups:
            raise ValueError(f"question {question.id!r} belongs to no known problem")
        groups[question.problem_id].append(question)
    problems = []
    for problem_id, group in groups.items():
        ordered = sorted(group, key=lambda question: question.index)
        found = [question.index for question in ordered]
        if found != list(range(len(ordered))):
            raise ValueError(f"problem {problem_id!r} has question indexes {found}: expected 0, 1, 2, … once")
        problems.append(Problem(problem_id, stems[problem_id], tuple(ordered)))
    return tuple(problems)
