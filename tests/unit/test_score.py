"""Scores: matched on (id, index), never by line."""

from __future__ import annotations

import pytest

from nonet.questions.problem import Problem, Question
from nonet.voting.score import Score, score_answers, score_rows

GOLD = tuple(
    Problem(
        row_id,
        "同一题",
        tuple(Question(row_id, at, "?", ("甲", "甲", "丙"), letter) for at, letter in enumerate(letters)),
    )
    for row_id, letters in [("a", "AB"), ("b", "C")]
)


def rows(**letters: str) -> list[dict[str, object]]:
    return [{"id": row_id, "questions": [{"answer": letter} for letter in given]} for row_id, given in letters.items()]


def test_the_order_of_rows_does_not_matter() -> None:
    assert score_rows(rows(b="C", a="AB"), GOLD) == Score(3, 3, 0)
    assert score_rows(rows(a="BB", b="C"), GOLD) == Score(2, 3, 0)


def test_missing_answers_are_wrong_and_counted() -> None:
    score = score_rows(rows(a="A"), GOLD)
    assert score == Score(1, 3, 2)
    assert score.accuracy == pytest.approx(1 / 3)


def test_answers_without_gold_are_counted_apart() -> None:
    assert score_rows(rows(a="ABC", b="C", c="A"), GOLD) == Score(3, 3, 0, extra=2)


def test_abstentions_are_missing_and_questions_without_gold_are_not_scored() -> None:
    questions = [*GOLD[0].questions, Question("x", 0, "?", ("甲", "乙"), None)]
    assert score_answers({"a#0": None, "a#1": "B", "x#0": "A"}, questions) == Score(1, 2, 1, extra=1)
    assert score_answers({}, []).accuracy is None


def test_the_same_text_at_another_letter_is_another_answer() -> None:
    assert score_rows(rows(a="BB"), GOLD).correct == 1


def test_a_repeated_row_is_refused() -> None:
    with pytest.raises(ValueError, match="two rows of the submission have the id 'a'"):
        score_rows([*rows(a="AB"), *rows(a="BA")], GOLD)
