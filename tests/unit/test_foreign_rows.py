"""Whatever rows of whatever shape hold: nothing crashes, and every question is in the problems or among what was left
out."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.foreign.conversion import Conversion, converted
from nonet.foreign.shape import SHAPES, Shape
from nonet.foreign.table import ForeignRow, Table
from nonet.questions.defect import DefectsError
from nonet.questions.rows import problem_of, problem_row

TEXTS = st.sampled_from(
    ["", "A", "(b)", "A C", "x", "Who?\nA. x\nB. y", "Ann wins. Who?", "\u200b", "q\nOptions:\n- x\n- y"]
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 4),
    st.floats(),
    TEXTS,
    st.lists(TEXTS, max_size=4),
    st.just({"text": ["x"]}),
)
ENTRIES = st.lists(
    st.fixed_dictionaries({}, optional={"question": VALUES, "options": VALUES, "answer": VALUES}), max_size=3
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Shape, Table]:
    shape = draw(st.sampled_from(SHAPES))
    paths = [path for path in (shape.stem, shape.question, shape.answer, shape.id, *shape.options) if path]
    columns: dict[str, Any] = dict.fromkeys(paths, VALUES)
    if shape.questions:
        columns |= {shape.questions: st.one_of(VALUES, ENTRIES)}
    rows = draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=5))
    placed = tuple(ForeignRow(f"line {number}", row) for number, row in enumerate(rows, 1))
    return shape, Table("rows.jsonl", tuple(columns), placed, ())


def outcome(shape: Shape, table: Table) -> Conversion | None:
    try:
        return converted(table, shape)
    except DefectsError:
        return None


@settings(max_examples=80)
@given(tables())
def test_nothing_is_dropped_in_silence(drawn: tuple[Shape, Table]) -> None:
    shape, table = drawn
    found = outcome(shape, table)
    if found is None:
        return
    asked = len(table.rows)
    if shape.questions:
        entries = [row.values[shape.questions] for row in table.rows]
        asked = sum(len(entry) if isinstance(entry, list) and entry else 1 for entry in entries)
    assert found.questions + len(found.left_out) == asked
    for problem in found.problems:
        assert problem_of(problem_row(problem), labelled=found.answers is not None) == (problem, ())
