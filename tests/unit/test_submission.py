"""Submissions: the test's order and shape, or a refusal."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from nonet.questions.defect import DefectsError
from nonet.questions.problem import Problem, Question
from nonet.questions.submission import read_submission, submission_bytes, submission_rows
from nonet.voting.vote import Level, Verdict

TEST = tuple(
    Problem(row_id, "题", tuple(Question(row_id, at, "?", ("甲", "乙", "丙"), None) for at in range(count)))
    for row_id, count in [("t2", 2), ("t0", 1), ("t1", 3)]
)


def verdicts(**changes: str) -> list[Verdict]:
    letters = {question.id: "ABC"[question.index] for problem in TEST for question in problem.questions}
    letters.update(changes)
    made = [Verdict(question_id, letter, Level.MAJORITY, {letter: 1}, 0) for question_id, letter in letters.items()]
    random.Random(0).shuffle(made)
    return made


def test_rows_come_in_the_tests_order_and_shape() -> None:
    assert submission_rows(TEST, verdicts()) == [
        {"id": "t2", "questions": [{"answer": "A"}, {"answer": "B"}]},
        {"id": "t0", "questions": [{"answer": "A"}]},
        {"id": "t1", "questions": [{"answer": "A"}, {"answer": "B"}, {"answer": "C"}]},
    ]


def test_the_bytes_are_one_row_a_line_and_read_back(tmp_path: Path) -> None:
    data = submission_bytes(TEST, verdicts())
    assert data.splitlines()[1] == b'{"id": "t0", "questions": [{"answer": "A"}]}'
    assert data.endswith(b"}\n")
    path = tmp_path / "submission.jsonl"
    path.write_bytes(data)
    assert read_submission(path) == submission_rows(TEST, verdicts())


def test_a_missing_a_foreign_and_a_repeated_verdict_are_refused() -> None:
    with pytest.raises(ValueError, match="1 questions without a verdict: "):
        submission_rows(TEST, verdicts()[1:])
    with pytest.raises(ValueError, match="1 questions not in the test: x#0"):
        submission_rows(TEST, [*verdicts(), Verdict("x#0", "A", Level.MAJORITY, {}, 0)])
    with pytest.raises(ValueError, match="two verdicts on"):
        submission_rows(TEST, [*verdicts(), verdicts()[0]])
    with pytest.raises(ValueError, match="'D': expected one of ABC"):
        submission_rows(TEST, verdicts(**{"t0#0": "D"}))


def test_every_malformed_row_of_a_submission_is_told(tmp_path: Path) -> None:
    path = tmp_path / "submission.jsonl"
    rows: list[object] = [
        {"id": "a", "questions": [{"answer": None}, {}]},
        {"id": "a", "questions": []},
        {"questions": []},
        {"id": "b"},
        {"id": "c", "questions": [{"answer": "Z"}]},
        {"id": "d", "questions": ["A"]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    with pytest.raises(DefectsError) as caught:
        read_submission(path)
    assert [defect.place for defect in caught.value.defects] == [f"line {line}" for line in (2, 3, 4, 5, 6, 7)]
    assert "line 1 has the id 'a' too" in str(caught.value)
    path.write_text("")
    with pytest.raises(DefectsError, match="holds no row"):
        read_submission(path)


def test_an_open_answer_reads_as_none(tmp_path: Path) -> None:
    path = tmp_path / "submission.jsonl"
    path.write_text('{"id": "a", "questions": [{"answer": "A", "why": 1}, {"answer": null}]}\n')
    assert read_submission(path) == [{"id": "a", "questions": [{"answer": "A"}, {"answer": None}]}]
