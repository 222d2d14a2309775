"""Rows: every malformed row is told with its line, value and remedy; the sound ones survive a round trip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nonet.questions.defect import Defect
from nonet.questions.problem import LETTERS, Problem, Question
from nonet.questions.rows import dumps, problem_row, read_problems, write_rows


def row(row_id: str = "row_0", **changes: Any) -> dict[str, Any]:
    question: dict[str, Any] = {"question": "选择题 1：\n谁？", "options": ["甲", "乙", "丙"], "answer": "B"}
    question.update({key: value for key, value in changes.items() if key in ("question", "options", "answer")})
    question = {key: value for key, value in question.items() if value is not ...}
    whole: dict[str, Any] = {"id": row_id, "problem": "甲、乙、丙三人。", "questions": [question]}
    whole.update({key: value for key, value in changes.items() if key in ("id", "problem", "questions")})
    return {key: value for key, value in whole.items() if value is not ...}


def read(tmp_path: Path, data: bytes, *, labelled: bool = True) -> tuple[tuple[Problem, ...], tuple[Defect, ...]]:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    return read_problems(path, labelled=labelled)


def only_defect(tmp_path: Path, data: bytes, *, labelled: bool = True) -> Defect:
    _, defects = read(tmp_path, data, labelled=labelled)
    assert len(defects) == 1, "\n".join(map(str, defects))
    assert defects[0].file == str(tmp_path / "rows.jsonl")
    assert defects[0].remedy
    return defects[0]


@pytest.mark.parametrize(
    ("bad", "place", "value", "message"),
    [
        (row(id=...), "line 2", "", "the field 'id' is missing"),
        (row(problem=...), "line 2", "", "the field 'problem' is missing"),
        (row(questions=...), "line 2", "", "the field 'questions' is missing"),
        (row(question=...), "line 2, questions[0]", "", "the field 'question' is missing"),
        (row(options=...), "line 2, questions[0]", "", "the field 'options' is missing"),
        (row(answer=...), "line 2, questions[0].answer", "", "the answer is missing"),
        (row(answer=None), "line 2, questions[0].answer", "None", "the answer is missing"),
        (row(answer=""), "line 2, questions[0].answer", "''", "the answer is missing"),
        (row(id=7), "line 2, id", "7", "must be text, not a number"),
        (row(problem=None), "line 2, problem", "None", "must be text, not null"),
        (row(problem=" \n"), "line 2, problem", "' \\n'", "the text is empty"),
        (row(questions={}), "line 2, questions", "{}", "must be a list, not an object"),
        (row(questions=[]), "line 2, questions", "[]", "the row has no question"),
        (row(questions=["x"]), "line 2, questions[0]", "'x'", "a question must be a JSON object, not text"),
        (row(options="甲乙"), "line 2, questions[0].options", "'甲乙'", "must be a list, not text"),
        (row(options=["甲", 2, "丙"]), "line 2, questions[0].options[1]", "2", "must be text, not a number"),
        (row(options=["甲", True, "丙"]), "line 2, questions[0].options[1]", "True", "not true or false"),
        (row(options=["甲"], answer="A"), "line 2, questions[0].options", "1", "fewer than two options"),
        (row(options=list("abcdefghijk")), "line 2, questions[0].options", "11", "more than ten options"),
        (row(answer="D"), "line 2, questions[0].answer", "'D'", "the answer is outside its 3 options"),
        (row(answer="Ｂ"), "line 2, questions[0].answer", "'Ｂ'", "the answer is a full-width letter"),
        (row(answer="b"), "line 2, questions[0].answer", "'b'", "the answer is not one capital letter"),
        (row(answer="AB"), "line 2, questions[0].answer", "'AB'", "the answer is not one capital letter"),
        (row(answer=" B"), "line 2, questions[0].answer", "' B'", "the answer is not one capital letter"),
        (row(answer=1), "line 2, questions[0].answer", "1", "the answer must be a letter, not a number"),
        (row("first"), "line 2, id", "'first'", "duplicate (id, index): line 1 has this id too"),
        (row("../x"), "line 2, id", "'../x'", "an id must be a plain name"),
        (row("a/b"), "line 2, id", "'a/b'", "an id must be a plain name"),
        (row("a\\b"), "line 2, id", "'a\\\\b'", "an id must be a plain name"),
        (row("a#0"), "line 2, id", "'a#0'", "an id must be a plain name"),
        (row(".hidden"), "line 2, id", "'.hidden'", "an id must be a plain name"),
        (row("a\nb"), "line 2, id", "'a\\nb'", "an id must be a plain name"),
        (row("ｒow"), "line 2, id", "'ｒow'", "the id holds full-width characters"),
        (row(problem="a\0b"), "line 2, problem", "'\\x00'", "the text holds NUL"),
        ([1], "line 2", "[1]", "a row must be a JSON object, not a list"),
        (None, "line 2", "None", "a row must be a JSON object, not null"),
    ],
)
def test_a_malformed_row_is_told_with_its_place(
    tmp_path: Path, bad: object, place: str, value: str, message: str
) -> None:
    data = dumps([row("first")]) + json.dumps(bad, ensure_ascii=False).encode() + b"\n" + dumps([row("last")])
    defect = only_defect(tmp_path, data)
    assert (defect.place, defect.value) == (place, value)
    assert message in defect.message
    assert [problem.id for problem in read(tmp_path, data)[0]] == ["first", "last"]


@pytest.mark.parametrize(
    ("line", "place", "message"),
    [
        (b'{"id": "x", ', "line 2", "not JSON: Expecting property name"),
        (b'{"id": "x", "id": "y"}', "line 2", "one object names this field twice"),
        (b"id,problem", "line 2", "not JSON"),
        ("{'id': '甲'}".encode("gb18030"), "line 2", "not UTF-8"),
        (b"[" * 100_000, "line 2", "not JSON"),
        (b'{"id": "x", "problem": "\\ud800", "questions": []}', "line 2, problem", "half a surrogate pair"),
    ],
)
def test_a_line_that_is_no_json_is_told(tmp_path: Path, line: bytes, place: str, message: str) -> None:
    problems, defects = read(tmp_path, dumps([row("first")]) + line + b"\n" + dumps([row("last")]))
    assert defects[0].place == place
    assert message in defects[0].message
    assert len(defects[0].value) <= 80
    assert [problem.id for problem in problems] == ["first", "last"]


def test_all_defects_come_in_one_go(tmp_path: Path) -> None:
    rows = [row("a", answer="Z"), row("b", options=["x"]), row("c", problem=...), row("a")]
    _, defects = read(tmp_path, b"\xef\xbb\xbf" + dumps(rows) + b"{\r\n")
    told = [(defect.place, defect.message.partition(":")[0]) for defect in defects]
    assert told == [
        ("line 1", "the file opens with a BOM"),
        ("line 5", "lines end with CRLF"),
        ("line 1, questions[0].answer", "the answer is not one capital letter"),
        ("line 2, questions[0].options", "fewer than two options"),
        ("line 3", "the field 'problem' is missing"),
        ("line 4, id", "duplicate (id, index)"),
        ("line 5", "not JSON"),
    ]


def test_a_bom_is_refused_once_and_its_row_read(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf" + dumps([row()])
    assert only_defect(tmp_path, data).message == "the file opens with a BOM"
    assert len(read(tmp_path, data)[0]) == 1


def test_crlf_is_refused_once_for_the_whole_file(tmp_path: Path) -> None:
    data = dumps([row("a"), row("b"), row("c")]).replace(b"\n", b"\r\n")
    defect = only_defect(tmp_path, data)
    assert (defect.place, defect.message) == ("line 1", "lines end with CRLF")
    assert defect.value == "3 of 4 lines"


def test_utf16_is_refused(tmp_path: Path) -> None:
    assert "UTF-16" in only_defect(tmp_path, json.dumps(row()).encode("utf-16")).message


@pytest.mark.parametrize("data", [b"", b"\n \n"])
def test_a_file_without_rows_is_refused(tmp_path: Path, data: bytes) -> None:
    assert only_defect(tmp_path, data).message == "the file holds no problem"


def test_two_options_with_one_text_are_legal_and_keep_their_places(tmp_path: Path) -> None:
    problems, defects = read(tmp_path, dumps([row(options=["同", "异", "同"], answer="C")]))
    assert not defects
    assert problems[0].questions[0].options == ("同", "异", "同")
    assert problems[0].questions[0].gold == "C"


def test_the_number_in_a_question_is_never_parsed(tmp_path: Path) -> None:
    entries = [
        {"question": f"选择题 {number}{colon}\n谁？", "options": ["甲", "乙"], "answer": "A"}
        for number, colon in [(4, "："), (4, ":"), (1, "：")]
    ]
    problems, defects = read(tmp_path, dumps([row(questions=entries)]))
    assert not defects
    assert [question.index for question in problems[0].questions] == [0, 1, 2]
    assert [question.text for question in problems[0].questions] == [entry["question"] for entry in entries]


def test_one_stem_may_stand_in_several_rows(tmp_path: Path) -> None:
    problems, defects = read(tmp_path, dumps([row("a"), row("b")]))
    assert not defects
    assert [problem.id for problem in problems] == ["a", "b"]


def test_full_width_letters_in_texts_are_texts(tmp_path: Path) -> None:
    problems, defects = read(tmp_path, dumps([row(problem="设Ａ＝１", options=["Ａ", "Ｂ"])]))
    assert not defects
    assert problems[0].stem == "设Ａ＝１"


@pytest.mark.parametrize("answer", [..., None, ""])
def test_a_test_row_needs_no_answer(tmp_path: Path, answer: object) -> None:
    problems, defects = read(tmp_path, dumps([row(answer=answer)]), labelled=False)
    assert not defects
    assert problems[0].questions[0].gold is None


def test_an_answer_in_a_test_is_checked_and_kept(tmp_path: Path) -> None:
    assert read(tmp_path, dumps([row()]), labelled=False)[0][0].questions[0].gold == "B"
    assert "outside" in only_defect(tmp_path, dumps([row(answer="J")]), labelled=False).message


def test_line_separators_inside_texts_end_no_row(tmp_path: Path) -> None:
    problems, defects = read(tmp_path, dumps([row(problem="一\u2028二\x85三")]))
    assert not defects
    assert problems[0].stem == "一\u2028二\x85三"


def test_further_fields_and_a_missing_last_newline_are_allowed(tmp_path: Path) -> None:
    data = json.dumps(row() | {"note": 1}).encode()
    assert [problem.id for problem in read(tmp_path, data)[0]] == ["row_0"]


def test_a_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_problems(tmp_path / "none.jsonl", labelled=True)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12).filter(
    str.strip
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, st.lists(st.lists(texts, min_size=2, max_size=10), min_size=1, max_size=3))))
def test_what_is_written_is_read_back(tmp_path: Path, content: list[tuple[str, list[list[str]]]]) -> None:
    problems = tuple(
        Problem(
            f"row_{at}",
            stem,
            tuple(
                Question(f"row_{at}", index, stem, tuple(options), LETTERS[len(options) - 1])
                for index, options in enumerate(questions)
            ),
        )
        for at, (stem, questions) in enumerate(content)
    )
    path = tmp_path / "rows.jsonl"
    write_rows(path, problems)
    found, defects = read_problems(path, labelled=True)
    assert found == problems
    assert bool(defects) == (not problems)
    assert dumps(map(problem_row, found)) == path.read_bytes()


def test_given_answers_replace_the_gold(tmp_path: Path) -> None:
    problem = read(tmp_path, dumps([row()]))[0][0]
    assert problem_row(problem, {"row_0#0": "C"})["questions"][0]["answer"] == "C"
    assert "answer" not in problem_row(problem, {})["questions"][0]
    assert problem_row(problem) == row()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 400), st.integers(0, 60), st.binary(max_size=6))
def test_no_damage_raises(tmp_path: Path, start: int, length: int, instead: bytes) -> None:
    whole = dumps([row("a"), row("b")])
    problems, defects = read(tmp_path, whole[:start] + instead + whole[start + length :])
    assert problems or defects
