"""Data mixes: which questions an adapter is trained on.

Knows how examples are drawn from sources, and when they hold stems of the test. Knows no batch file and no
training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nonet.questions.problem import LETTERS, Problem
from nonet.questions.rows import dumps
from nonet.questions.split import normal_stem

Labels = Literal["gold", "model", "human", "pseudo"]


@dataclass(frozen=True, slots=True)
class Source:
    """A labelled file of rows; `labels` says who answered them (pseudo: the vote of an earlier run)."""

    name: str
    path: Path
    labels: Labels


@dataclass(frozen=True, slots=True)
class Use:
    """A source in a mix: its `first` rows (problems), or all of them where None; of these, the questions whose margin
    is at least `min_margin`.
    """

    source: str
    first: int | None = None
    min_margin: float | None = None


@dataclass(frozen=True, slots=True)
class Mix:
    """What one adapter is trained on: `uses` in order, then a seeded `sample` (0..1) of all their
    questions.
    """

    name: str
    uses: tuple[Use, ...]
    sample: float | None = None
    seed: int = 0
    allow_leak: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """One question to train on, with its letter and the name of the source that it came from."""

    question_id: str
    stem: str
    question: str
    options: tuple[str, ...]
    letter: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """The example as a JSON object, fields in the order of the record."""
        return {
            "question_id": self.question_id,
            "stem": self.stem,
            "question": self.question,
            "options": list(self.options),
            "letter": self.letter,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class Leak:
    """A stem that a mix and the test share: `trained` as "source:row id", `tested` as row ids, each once."""

    stem: str
    trained: tuple[str, ...]
    tested: tuple[str, ...]


def draw(
    mix: Mix,
    problems_by_source: Mapping[str, Sequence[Problem]],
    exclude_stems: Collection[str] = (),
) -> tuple[Example, ...]:
    """Draw a mix's examples, in the order of its sources and their rows.

    `exclude_stems` (the validation's) are left out of every source, also where they differ in white space
    or width. `first` counts the rows of the file, excluded ones included; `min_margin` leaves out questions, those
    without a margin too. `sample` then keeps round(sample × questions), at least one, in their order; which ones
    depends on the seed and the positions alone.
    Raises KeyError for an unknown source and ValueError for a question without an answer.
    """
    excluded = {normal_stem(stem) for stem in exclude_stems}
    examples: list[Example] = []
    for use in mix.uses:
        for problem in problems_by_source[use.source][: use.first]:
            if normal_stem(problem.stem) not in excluded:
                examples.extend(_examples(problem, use))
    if mix.sample is None:
        return tuple(examples)
    return tuple(examples[position] for position in _sample(len(examples), mix.sample, mix.seed))


def _examples(problem: Problem, use: Use) -> Iterable[Example]:
    for question in problem.questions:
        if question.gold is None:
            raise ValueError(f"question {question.id!r} of source {use.source!r} has no answer to train on")
        if use.min_margin is None or (question.margin is not None and question.margin >= use.min_margin):
            yield Example(question.id, problem.stem, question.text, question.options, question.gold, use.source)


def _rank(seed: int, position: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{position}".encode()).digest()


def _sample(count: int, fraction: float, seed: int) -> list[int]:
    """Positions of a seeded sample, ascending: those of the lowest sha256(seed, position)."""
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"a sample of {fraction} is not above 0 and at most 1")
    kept = min(count, max(1, round(fraction * count)))
    ranked = sorted(range(count), key=lambda position: _rank(seed, position))
    return sorted(ranked[:kept])


Tested = Mapping[str, Mapping[str, str]]
"""Stems of the test by their normal form: the stem as it is written in each row, by the row's id."""


def stems_tested(problems: Iterable[Problem]) -> Tested:
    """The stems of the test's `problems`, in their order."""
    tested: dict[str, dict[str, str]] = {}
    for problem in problems:
        tested.setdefault(normal_stem(problem.stem), {})[problem.id] = problem.stem
    return tested


def leaking_rows(examples: Iterable[Example], tested: Tested) -> tuple[Leak, ...]:
    """Every stem that the examples share with the test (see `normal_stem`), in the test's order, with the
    row ids.
    """
    trained: dict[str, dict[str, None]] = {}
    for example in examples:
        stem = normal_stem(example.stem)
        if stem in tested:
            row = f"{example.source}:{example.question_id.rpartition('#')[0]}"
            trained.setdefault(stem, {})[row] = None
    return tuple(
        Leak(next(iter(rows.values())), tuple(trained[stem]), tuple(rows))
        for stem, rows in tested.items()
        if stem in trained
    )


def examples_bytes(examples: Iterable[Example]) -> bytes:
    """Examples as JSON Lines, one object a line (see `Example.to_json`)."""
    return dumps(example.to_json() for example in examples)


def content_bytes(examples: Iterable[Example]) -> bytes:
    """What a training sees of the examples, in order: without source names and ids, which change no
    adapter.
    """
    rows = ([example.stem, example.question, list(example.options), example.letter] for example in examples)
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def read_examples(path: Path) -> tuple[Example, ...]:
    """Read what `examples_bytes` wrote. Raises ValueError, with the line, for anything else."""
    examples = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line:
            continue
        try:
            examples.append(_example(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            message = f"{path}: line {number}: not an example: {error!r}. Draw the mix again."
            raise ValueError(message) from error
    return tuple(examples)


def _example(row: Mapping[str, Any]) -> Example:
    texts = [row[field] for field in ("question_id", "stem", "question", "letter", "source")]
    options = row["options"]
    if not isinstance(options, list) or not all(isinstance(text, str) for text in [*texts, *options]):
        raise TypeError("a field has another type")
    question_id, stem, question, letter, source = texts
    if len(letter) != 1 or letter not in LETTERS[: len(options)]:
        raise ValueError(f"the letter {letter!r} is outside {len(options)} options")
    return Example(question_id, stem, question, tuple(options), letter, source)
