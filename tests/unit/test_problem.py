"""Problems: rows split into questions and regrouped without loss."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.questions.problem import LETTERS, Problem, Question, regroup, split_questions

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@st.composite
def problem_lists(draw: st.DrawFn) -> tuple[Problem, ...]:
    problems = []
    for number in range(draw(st.integers(1, 5))):
        questions = []
        for index in range(draw(st.integers(1, 4))):
            options = tuple(draw(st.lists(texts, min_size=2, max_size=10)))
            gold = draw(st.none() | st.sampled_from(LETTERS[: len(options)]))
            questions.append(Question(f"row_{number}", index, draw(texts), options, gold))
        problems.append(Problem(f"row_{number}", draw(texts), tuple(questions)))
    return tuple(problems)


@settings(deadline=None)
@given(problem_lists(), st.integers(0, 99))
def test_split_and_regroup_lose_nothing_in_whatever_order(problems: tuple[Problem, ...], seed: int) -> None:
    questions = list(split_questions(problems))
    random.Random(seed).shuffle(questions)
    assert regroup(questions, {problem.id: problem.stem for problem in problems}) == problems


def test_a_question_is_named_by_its_position_never_by_the_number_in_its_text() -> None:
    texts_of = ("选择题 3：\n甲？", "选择题 3:\n乙？")
    questions = tuple(Question("row", at, text, ("是", "否"), "A") for at, text in enumerate(texts_of))
    assert [question.id for question in questions] == ["row#0", "row#1"]
    assert regroup(reversed(questions), {"row": "题"})[0].questions == questions


def test_letters_follow_the_number_of_options() -> None:
    assert Question("row", 0, "?", ("x", "y", "x"), None).letters == "ABC"


@pytest.mark.parametrize("indexes", [(0, 0), (0, 2), (1,)])
def test_regroup_refuses_gaps_and_repeats(indexes: tuple[int, ...]) -> None:
    questions = [Question("row", index, "?", ("x", "y"), None) for index in indexes]
    with pytest.raises(ValueError, match="'row' has question indexes"):
        regroup(questions, {"row": "stem"})


def test_regroup_refuses_a_question_of_an_unknown_problem() -> None:
    with pytest.raises(ValueError, match="'other#0' belongs to no known problem"):
        regroup([Question("other", 0, "?", ("x", "y"), None)], {"row": "stem"})
