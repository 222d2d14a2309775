"""Submissions: one letter for every question of the test, in the test's order and shape.

Knows the submission's rows and how to read them back. Counts no votes and no score.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nonet.questions.defect import Defect, DefectsError, shown
from nonet.questions.problem import LETTERS, Problem, split_questions
from nonet.questions.rows import dumps
from nonet.voting.vote import Verdict

SHAPE = '{"id": "…", "questions": [{"answer": "A"}, …]}'


def submission_rows(test_problems: Sequence[Problem], verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """`{"id", "questions": [{"answer"}, …]}` for each problem of the test, in its order.

    Raises ValueError unless there is exactly one verdict for each question, with a letter that the question
    has.
    """
    letters: dict[str, str] = {}
    for verdict in verdicts:
        if verdict.question_id in letters:
            raise ValueError(f"two verdicts on {verdict.question_id!r}")
        letters[verdict.question_id] = verdict.letter
    questions = split_questions(test_problems)
    asked = {question.id: question for question in questions}
    if len(asked) < len(questions):
        raise ValueError("the test names a question twice")
    for what, ids in (
        ("without a verdict", asked.keys() - letters),
        ("not in the test", letters.keys() - asked),
    ):
        if ids:
            raise ValueError(f"{len(ids)} questions {what}: {', '.join(sorted(ids)[:5])}")
    for question in questions:
        if letters[question.id] not in question.letters or len(letters[question.id]) != 1:
            given = letters[question.id]
            raise ValueError(f"the verdict on {question.id!r} is {given!r}: expected one of {question.letters}")
    return [
        {
            "id": problem.id,
            "questions": [{"answer": letters[question.id]} for question in problem.questions],
        }
        for problem in test_problems
    ]


def submission_bytes(test_problems: Sequence[Problem], verdicts: Iterable[Verdict]) -> bytes:
    """`submission_rows` as JSON Lines."""
    return dumps(submission_rows(test_problems, verdicts))


def read_submission(path: Path) -> list[dict[str, Any]]:
    """Read a submission's rows; further fields are dropped. An answer may be null: a question left open.

    Raises DefectsError with every malformed row, OSError where the file cannot be read.
    """
    rows: list[dict[str, Any]] = []
    defects: list[Defect] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = _row(json.loads(line.decode("utf-8-sig")))
            if row["id"] in seen:
                raise ValueError(f"line {seen[row['id']]} has the id {row['id']!r} too")
        except (ValueError, RecursionError) as error:
            found = shown(line.decode("utf-8", "replace"))
            defects.append(Defect(str(path), f"line {number}", found, str(error), f"Write {SHAPE}."))
        else:
            seen[row["id"]] = number
            rows.append(row)
    if not rows and not defects:
        defects.append(Defect(str(path), "line 1", "", "the file holds no row", f"Write {SHAPE} on each line."))
    if defects:
        raise DefectsError(defects)
    return rows


def _row(row: object) -> dict[str, Any]:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not row["id"]:
        raise ValueError("a row needs an id")
    entries = row.get("questions")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("a row needs questions: a list of objects")
    answers = [entry.get("answer") for entry in entries]
    for index, answer in enumerate(answers):
        if answer is not None and (not isinstance(answer, str) or len(answer) != 1 or answer not in LETTERS):
            raise ValueError(f"questions[{index}].answer is {answer!r}, not a letter from A to J")
    return {"id": row["id"], "questions": [{"answer": answer} for answer in answers]}
