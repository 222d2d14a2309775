"""Shapes of foreign rows: which field is what. Knows the published ones, how a person names others, and which one a
file has. Converts nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nonet.foreign.answer import AnswerKind
from nonet.foreign.table import ForeignRow, Table
from nonet.questions.defect import Defect, DefectsError

AUTO = "auto"
COLUMNS = ("stem", "question", "options", "answer", "id")
"""What a person can name a column for."""
NAMING = "--columns question=…,options=…,answer=… (and stem=…, id=…; options=A+B+C+D for a column each)"


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a row has what, as paths ("choices.text"). `options`: one list, a column each, or () where they stand in
    the text; `stem` None: in the question's text; `questions`: the list of questions within the row, which the other
    paths but `stem` and `id` start from. `answers` None: told from the file. `telling`: columns that a file of this
    shape has besides."""

    name: str
    origin: str
    question: str
    options: tuple[str, ...] = ()
    answer: str | None = None
    stem: str | None = None
    id: str | None = "id"
    questions: str | None = None
    answers: AnswerKind | None = AnswerKind.LETTER
    telling: tuple[str, ...] = ()
    kinds: tuple[AnswerKind, ...] = tuple(AnswerKind)

    def fits(self, table: Table) -> bool:
        """Whether the file's first rows have all that this shape names, in the types that it must have."""
        wanted = [path for path in (self.stem, self.questions, *self.telling) if path is not None]
        if self.questions is None:
            wanted += [self.question, *self.options, *([self.answer] if self.answer else [])]
        if not all(any(value_at(row.values, path) is not None for row in table.rows) for path in wanted):
            return False
        listed = [self.questions] if self.questions else [*self.options] if len(self.options) == 1 else []
        texts = [self.question, *(self.options if len(self.options) > 1 else ())] if self.questions is None else []
        return all(_are(list, table.rows, path) for path in listed) and all(_are(str, table.rows, p) for p in texts)


_LETTERED = tuple("ABCDEFGHIJ")
SHAPES = (
    Shape("competition", "Nonet's own", "question", ("options",), "answer", "problem", questions="questions"),
    Shape("ar-lsat", "AR-LSAT", "question", ("options",), "answer", "passage", questions="questions"),
    Shape(
        "bbh",
        "BIG-Bench Hard",
        "input",
        answer="target",
        answers=None,
        kinds=(AnswerKind.LETTER, AnswerKind.TEXT),
    ),
    Shape("logiqa", "LogiQA", "query", ("options",), "correct_option", "context", answers=AnswerKind.INDEX0),
    Shape("logiqa-text", "LogiQA's text files", "query", ("options",), "letter", "context"),
    Shape("logiqa2", "LogiQA 2.0", "question", ("options",), "answer", "text", answers=AnswerKind.INDEX0),
    Shape("agieval", "AGIEval", "question", ("options",), "label", telling=("label",)),
    Shape("reclor", "ReClor", "question", ("answers",), "label", "context", "id_string", answers=AnswerKind.INDEX0),
    Shape("mmlu", "MMLU as a table", "question", ("choices",), "answer", answers=None),
    Shape("mmlu-pro", "MMLU-Pro", "question", ("options",), "answer", id="question_id", telling=("answer_index",)),
    Shape("mmlu-csv", "MMLU-like CSV", "question", ("A", "B", "C", "D"), "answer"),
    Shape("abench", "ABench-Logic", "standard_question", answer="standard_answer", id="mid"),
    Shape("plain", "one question a row", "question", ("options",), "answer", answers=None),
)
"""Every shape that is known by name; those with more to tell by come before `plain`."""


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """What a row has at a path, a name in any case or names joined by dots; None where there is nothing."""
    found: Any = row
    for part in [path] if path in row else path.split("."):
        if not isinstance(found, Mapping):
            return None
        name = part if part in found else next((key for key in found if key.lower() == part.lower()), None)
        found = None if name is None else found[name]
    return found


def _are(kind: type, rows: Iterable[ForeignRow], path: str) -> bool:
    values = [value for row in rows if (value := value_at(row.values, path)) is not None]
    return bool(values) and isinstance(values[0], kind)


def shape_of(table: Table, name: str = AUTO) -> Shape:
    """The shape called `name`, or the one that the rows of a file have; raises DefectsError where that is not sure."""
    known = {shape.name: shape for shape in SHAPES}
    if name != AUTO:
        return _widened(known[name], table)
    found = [shape for shape in SHAPES if shape.fits(table)]
    if _has_stem(table):  # a shape without one would lose it
        found = [shape for shape in found if shape.stem or not shape.options or _widened(shape, table).stem]
    told = [shape for shape in found if shape.name != "plain"]
    if len(told or found) == 1:
        return _widened((told or found)[0], table)
    seen = f"its rows have {', '.join(table.columns)}"
    may_be = f"the rows fit {' and '.join(shape.name for shape in told)}" if told else "the rows are of no known format"
    remedy = f"Name the columns: {NAMING}; or the format: --format {'|'.join(known)}."
    raise DefectsError([Defect(table.file, "the file", seen, may_be, remedy)])


def _has_stem(table: Table) -> bool:
    """Whether a column may be the stem by its name."""
    stems = {"passage", "context", "text", "problem", "stem", "article", "premise", "background", "paragraph"}
    return any(column.lower() in stems for column in table.columns)


def _widened(shape: Shape, table: Table) -> Shape:
    """`shape` with what only some of its files have: further options' columns, the passage of AGIEval."""
    columns = {column.lower() for column in table.columns}
    if shape.name == "mmlu-csv":
        wide = [letter for letter in _LETTERED if letter.lower() in columns]
        return replace(shape, options=tuple(wide[: next((i for i, a in enumerate(wide) if a != _LETTERED[i]), 10)]))
    if shape.name == "agieval" and "passage" in columns:
        return replace(shape, stem="passage")
    return shape


def named_shape(columns: Mapping[str, str], table: Table, answers: AnswerKind | None) -> Shape:
    """The shape that a person has named the columns of; raises DefectsError for a column that no row has."""
    options = tuple(columns["options"].split("+")) if columns.get("options") else ()
    paths = [path for name, path in columns.items() if name != "options"]
    unknown = [p for p in (*paths, *options) if all(value_at(row.values, p) is None for row in table.rows)]
    if unknown:
        remedy = f"The file has {', '.join(table.columns)}."
        raise DefectsError(
            [Defect(table.file, "--columns", path, "no row has this column", remedy) for path in unknown]
        )
    return Shape(
        "columns",
        "named columns",
        columns["question"],
        options,
        columns.get("answer"),
        columns.get("stem"),
        columns.get("id"),
        answers=answers,
    )


def stated(shape: Shape, answers: AnswerKind | None) -> Shape:
    """`shape` with what a person has said of its answers, if anything."""
    return shape if answers is None else replace(shape, answers=answers)


def told(shapes: Sequence[Shape] = SHAPES) -> str:
    """The known shapes in one line, for people."""
    return ", ".join(f"{shape.name} ({shape.origin})" for shape in shapes)
