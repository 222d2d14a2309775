"""Foreign rows become problems: what each question is, which rows share a stem, and what is left out and why.

Knows shapes and answers; every question is checked as `nonet.questions.rows` checks Nonet's own. Nothing is dropped in
silence: a question is in the problems or among what was left out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nonet.foreign.answer import (
    AnswerKind,
    UncertainAnswersError,
    UnreadableAnswerError,
    certain_kind,
    is_missing,
    letter_of,
)
from nonet.foreign.shape import Shape, value_at
from nonet.foreign.table import ForeignRow, LeftOut, Table
from nonet.foreign.wording import UnorderedOptionsError, divided, listed, plain, unmarked
from nonet.questions.defect import Defect, DefectsError, shown
from nonet.questions.problem import LETTERS, Problem
from nonet.questions.rows import PSEUDO, is_plain_id, problem_of

CLOSED = (("True", "False"), ("Yes", "No"), ("yes", "no"), ("valid", "invalid"), ("对", "错"), ("是", "否"))
"""Sets of answers that are options of their own where a file lists none."""
_REMEDY = "Say what they are: --answers letter|index0|index1|text."


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of a table: the problems, whether they have answers (of which kind), and all that was left out.

    `notes` say what was inferred and what was renamed.
    """

    problems: tuple[Problem, ...]
    answers: AnswerKind | None
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    @property
    def questions(self) -> int:
        return sum(len(problem.questions) for problem in self.problems)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question as the row has it; `group` names the problem that it belongs to."""

    place: str
    group: str
    own_id: object
    stem: object
    text: object
    options: tuple[Any, ...]
    answer: object
    row: object


def converted(table: Table, shape: Shape) -> Conversion:
    """The problems of a table in that shape; raises DefectsError where its answers cannot be told for certain, and
    where nothing is left."""
    left = list(table.left_out)
    asked = []
    for row in table.rows:
        for found in _questions(row, shape):
            if isinstance(found, LeftOut):
                left.append(found)
            else:
                asked.append(found)
    notes = []
    closed = _closed(asked)
    if closed:
        notes.append(f"the options {' and '.join(closed)} are inferred: every answer is one of them")
        asked = [replace(found, options=closed) for found in asked]
    if any(value_at(row.values, PSEUDO) is not None for row in table.rows):
        notes.append(
            "who answered (the run of pseudo-labels, and its margins) is not kept: give the file itself as a source"
        )
    asked, bare = _with_options(asked)
    left += bare
    labelled = any(not is_missing(found.answer) for found in asked)
    kind = _kind(table, shape, asked) if labelled else None
    problems, refused, made = _problems(asked, kind)
    if made:
        notes.append(f"{made} ids were missing, repeated or not plain names, and are made from the stems")
    left = _in_order([*left, *refused])
    if not problems:
        first = f"{left[0].place}: {left[0].reason}" if left else ""
        remedy = "Look at what is left out, and name the columns (--columns) or the format (--format)."
        raise DefectsError([Defect(table.file, "the file", first, "no row can be converted", remedy)])
    return Conversion(problems, kind, tuple(left), tuple(notes))


def _in_order(left: Sequence[LeftOut]) -> list[LeftOut]:
    return sorted(left, key=lambda found: int(re.findall(r"\d+", found.place)[0]))


def _questions(row: ForeignRow, shape: Shape) -> Iterator[_Asked | LeftOut]:
    own_id = value_at(row.values, shape.id) if shape.id else None
    stem = value_at(row.values, shape.stem) if shape.stem else None
    if shape.questions is None:
        yield _question(row, row.place, row.values, shape, stem, own_id, "")
        return
    entries = value_at(row.values, shape.questions)
    if not isinstance(entries, list) or not entries:
        yield LeftOut(row.place, f"no list {shape.questions!r}", shown(entries), row.values)
        return
    for at, entry in enumerate(entries):
        place = f"{row.place}, {shape.questions}[{at}]"
        if isinstance(entry, dict):
            yield _question(row, place, entry, shape, stem, own_id, row.place)
        else:
            yield LeftOut(place, "not a JSON object", shown(entry), row.values)


def _question(
    row: ForeignRow, place: str, holder: Mapping[str, Any], shape: Shape, stem: object, own_id: object, group: str
) -> _Asked | LeftOut:
    text = value_at(holder, shape.question)
    options = _options(holder, shape)
    if not shape.options and isinstance(text, str):
        try:
            found = listed(text)
        except UnorderedOptionsError as error:
            return LeftOut(place, "the letters of its options are not in order", str(error), row.values)
        text, options = (found.text, found.options) if found else (text, ())
    if shape.name != "competition" and all(isinstance(option, str) for option in options):
        options = unmarked(options)
    if shape.stem is None or (shape.name != "competition" and (stem is None or stem == "") and text):
        stem, text = divided(text) if isinstance(text, str) and text.strip() else (text, text)
    if isinstance(stem, str) and shape.name != "competition":
        stem, text = stem.strip(), text.strip() if isinstance(text, str) else text
    answer = value_at(holder, shape.answer) if shape.answer else None
    return _Asked(place, group, own_id, stem, text, options, answer, row.values)


def _options(holder: Mapping[str, Any], shape: Shape) -> tuple[Any, ...]:
    if len(shape.options) == 1:
        found = value_at(holder, shape.options[0])
        return tuple(found) if isinstance(found, list) else ()
    columns = [value_at(holder, path) for path in shape.options]
    while columns and (columns[-1] is None or columns[-1] == ""):  # fewer options than columns
        columns.pop()
    return tuple(columns)


def _closed(asked: Sequence[_Asked]) -> tuple[str, ...]:
    """The closed set of answers that all questions share, where none lists an option; () otherwise."""
    answers = {plain(str(found.answer)) for found in asked if not is_missing(found.answer)}
    if not answers or any(found.options for found in asked):
        return ()
    return next((options for options in CLOSED if answers == set(options)), ())


def _with_options(asked: Sequence[_Asked]) -> tuple[list[_Asked], list[LeftOut]]:
    bare = [LeftOut(a.place, "no options", "", a.row) for a in asked if not a.options]
    return [found for found in asked if found.options], bare


def _kind(table: Table, shape: Shape, asked: Sequence[_Asked]) -> AnswerKind:
    if shape.answers is not None:
        return shape.answers
    try:
        return certain_kind([(a.answer, tuple(map(str, a.options))) for a in asked], shape.kinds)
    except UncertainAnswersError as error:
        raise DefectsError([Defect(table.file, "the answers", "", str(error), _REMEDY)]) from error


def _problems(asked: Sequence[_Asked], kind: AnswerKind | None) -> tuple[tuple[Problem, ...], list[LeftOut], int]:
    """(problems, what was refused, how many ids had to be made)."""
    groups: dict[str, list[tuple[_Asked, dict[str, Any]]]] = {}
    refused: list[LeftOut] = []
    seen: dict[tuple[str, ...], tuple[str, str | None]] = {}
    for found in asked:
        entry = _entry(found, kind)
        if isinstance(entry, LeftOut):
            refused.append(entry)
            continue
        same = (str(found.stem), str(found.text), *found.options)
        if not found.group and same in seen:
            first, answer = seen[same]
            other = "with the same answer" if answer == entry.get("answer") else f"with the answer {answer}"
            reason = "the question stands above already"
            refused.append(LeftOut(found.place, reason, f"{first}, {other}", found.row))
            continue
        seen[same] = found.place, entry.get("answer")
        groups.setdefault(found.group or str(found.stem), []).append((found, entry))
    ids: dict[str, None] = {}
    problems, made = [], 0
    for group in groups.values():
        first_asked = group[0][0]
        name, own = _id(first_asked, ids)
        made += not own
        ids[name] = None
        row = {"id": name, "problem": first_asked.stem, "questions": [entry for _, entry in group]}
        problem, defects = problem_of(row, labelled=kind is not None)
        if problem is None:
            raise DefectsError(defects)  # each of its questions was checked alone
        problems.append(problem)
    return tuple(problems), refused, made


def _entry(found: _Asked, kind: AnswerKind | None) -> dict[str, Any] | LeftOut:
    """A question as Nonet's rows have it, or why it cannot be one."""
    entry: dict[str, Any] = {"question": found.text, "options": list(found.options)}
    if len(found.options) > len(LETTERS):
        return LeftOut(found.place, f"more than {len(LETTERS)} options", str(len(found.options)), found.row)
    if kind is not None:
        try:
            entry["answer"] = letter_of(kind, found.answer, [str(option) for option in found.options])
        except UnreadableAnswerError as error:
            value = "" if is_missing(found.answer) else shown(found.answer)
            return LeftOut(found.place, str(error), value, found.row)
    _, defects = problem_of({"id": "row", "problem": found.stem, "questions": [entry]}, labelled=kind is not None)
    if defects:
        where = defects[0].place.removeprefix("line 1, ").removeprefix("questions[0].")
        return LeftOut(found.place, f"{where}: {defects[0].message}", defects[0].value, found.row)
    return entry


def _id(found: _Asked, taken: Mapping[str, None]) -> tuple[str, bool]:
    """(the id of a problem, whether the row itself has it); one that is made depends on the stem alone, so that a test
    and its answers, converted from two files, fit together."""
    own = str(found.own_id) if isinstance(found.own_id, str | int) else ""
    if is_plain_id(own) and own not in taken:
        return own, True
    digest = hashlib.sha256(str(found.stem).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    names = (digest if not at else f"{digest}-{at + 1}" for at in range(len(taken) + 1))
    return next(name for name in names if name not in taken), False
