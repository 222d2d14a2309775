"""What a file of rows holds, in figures: stems, options, gold letters, repetitions, lengths. Knows no file and no
tokenizer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nonet.questions.problem import Problem, Question
from nonet.questions.prompt import user_text
from nonet.questions.split import normal_stem

PERCENTS = (50, 90, 99, 100)
"""Percentiles of lengths that are told; 100 is the longest."""
Length = Callable[[str, Question], int]
"""(stem, question) → the length of its prompt."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Figures of some problems. `options` and `gold` count questions by number of options and by letter;
    `repeated_stems` holds the ids of problems that share a stem, group by group; `repeated_options` the ids of
    questions that offer one text twice; `lengths` those of the prompts, ascending.
    """

    problems: int
    stems: int
    questions: int
    options: dict[int, int]
    gold: dict[str, int]
    repeated_stems: tuple[tuple[str, ...], ...]
    repeated_options: tuple[str, ...]
    lengths: tuple[int, ...]

    @property
    def labelled(self) -> bool:
        """Whether every question has its gold letter."""
        return self.questions > 0 and sum(self.gold.values()) == self.questions

    def percentile(self, percent: int) -> int:
        """The length that `percent` of the prompts do not exceed (nearest rank); raises IndexError without prompts."""
        return self.lengths[max(0, math.ceil(percent / 100 * len(self.lengths)) - 1)]


def characters(stem: str, question: Question) -> int:
    """Characters of the user's message; a token is one to four of them."""
    return len(user_text(stem, question.text, question.options))


def survey(problems: Sequence[Problem], length: Length = characters) -> Survey:
    """The figures of `problems`; raises what `length` raises."""
    asked = [(problem.stem, question) for problem in problems for question in problem.questions]
    by_stem: dict[str, list[str]] = {}
    for problem in problems:
        by_stem.setdefault(normal_stem(problem.stem), []).append(problem.id)
    questions = [question for _, question in asked]
    return Survey(
        problems=len(problems),
        stems=len(by_stem),
        questions=len(questions),
        options=dict(sorted(Counter(len(question.options) for question in questions).items())),
        gold=dict(sorted(Counter(question.gold for question in questions if question.gold is not None).items())),
        repeated_stems=tuple(tuple(ids) for ids in by_stem.values() if len(ids) > 1),
        repeated_options=tuple(q.id for q in questions if len(set(q.options)) < len(q.options)),
        lengths=tuple(sorted(length(stem, question) for stem, question in asked)),
    )


def shared_stems(first: Sequence[Problem], second: Sequence[Problem]) -> int:
    """How many different stems two files share."""
    return len({normal_stem(p.stem) for p in first} & {normal_stem(p.stem) for p in second})
