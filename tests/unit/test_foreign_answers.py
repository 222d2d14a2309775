"""Answers and options as people write them: what is read, and what is refused because it is not certain."""

from __future__ import annotations

import pytest

from nonet.foreign.answer import (
    AnswerKind,
    Asked,
    UncertainAnswersError,
    UnreadableAnswerError,
    certain_kind,
    letter_of,
)
from nonet.foreign.wording import ASK, ASK_CHINESE, UnorderedOptionsError, divided, listed, unmarked

LETTER, INDEX0, INDEX1, TEXT = AnswerKind
THREE = ("red", "green", "blue")


@pytest.mark.parametrize(
    ("kind", "answer", "letter"),
    [
        (LETTER, "B", "B"),
        (LETTER, " (b) ", "B"),
        (LETTER, "Ｂ", "B"),
        (LETTER, ["C"], "C"),
        (INDEX0, 0, "A"),
        (INDEX0, "2", "C"),
        (INDEX0, 1.0, "B"),
        (INDEX1, 3, "C"),
        (TEXT, "green", "B"),
        (TEXT, " ｇreen", "B"),
    ],
)
def test_an_answer_names_an_option(kind: AnswerKind, answer: object, letter: str) -> None:
    assert letter_of(kind, answer, THREE) == letter


@pytest.mark.parametrize(
    ("kind", "answer", "reason"),
    [
        (LETTER, "", "no answer"),
        (LETTER, -1, "no answer"),
        (LETTER, "A C", "several right letters"),
        (LETTER, "AC", "several right letters"),
        (LETTER, "A、C", "several right letters"),
        (LETTER, ["A", "C"], "several right answers"),
        (LETTER, "D", "outside the options"),
        (LETTER, "Harry", "not a letter"),
        (LETTER, 1, "not a letter"),
        (INDEX0, 3, "outside the options"),
        (INDEX1, 0, "outside the options"),
        (INDEX0, True, "not a whole number"),
        (INDEX0, 0.5, "not a whole number"),
        (TEXT, "yellow", "text of no option"),
    ],
)
def test_an_answer_that_names_none_says_why(kind: AnswerKind, answer: object, reason: str) -> None:
    with pytest.raises(UnreadableAnswerError, match=reason):
        letter_of(kind, answer, THREE)


def test_a_text_that_stands_twice_names_no_option() -> None:
    with pytest.raises(UnreadableAnswerError, match="several options"):
        letter_of(TEXT, "red", ("red", "blue", "red"))


def asked(*answers: object, options: tuple[str, ...] = THREE) -> list[Asked]:
    return [(answer, options) for answer in answers]


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (("A", "c", "B"), LETTER),
        ((0, 1, 2), INDEX0),
        ((1, 3, 2), INDEX1),
        (("red", "blue"), TEXT),
        (("A", "C D", "B"), LETTER),  # one cannot be read at all: it is left out later
        (("", "A", None), LETTER),
    ],
)
def test_a_kind_is_certain(answers: tuple[object, ...], kind: AnswerKind) -> None:
    assert certain_kind(asked(*answers)) is kind


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (asked(1, 2, 1), "in two ways: 1 is B as index0 and A as index1"),
        (asked(0, 3), "no kind fits all"),
        (asked("A", "red"), "no kind fits all"),
        (asked("x", "y", "z", "A"), "most answers name no option, as 'x'"),
        (asked("A", options=("C", "B", "A")), "in two ways: 'A' is A as letter and C as text"),
        (asked(2, options=("1", "2", "3")), "in two ways"),
    ],
)
def test_a_kind_that_is_not_certain_is_refused(found: list[Asked], why: str) -> None:
    with pytest.raises(UncertainAnswersError, match=why):
        certain_kind(found)


def test_an_option_may_be_called_by_another_letter_where_both_readings_agree() -> None:
    assert certain_kind(asked("A", "B", options=("A", "B"))) is LETTER


@pytest.mark.parametrize(
    ("text", "before", "options"),
    [
        ("Who wins?\nOptions:\n(A) Ann\n(B) Bo", "Who wins?", ("Ann", "Bo")),
        ("谁赢了？\nA、安\nB、波", "谁赢了？", ("安", "波")),
        ("谁赢了？\n选项：\n\u200bA．安\n\u200bB．波\n 两行", "谁赢了？", ("安", "波\n 两行")),
        ("A: I win.\nB: No.\nWho lies?\nA. A\nB. B\nC. nobody", "A: I win.\nB: No.\nWho lies?", ("A", "B", "nobody")),
        ("Is it so?\nOptions:\n- Yes\n- No", "Is it so?", ("Yes", "No")),
    ],
)
def test_options_inside_a_text(text: str, before: str, options: tuple[str, ...]) -> None:
    found = listed(text)
    assert found is not None
    assert (found.text, found.options) == (before, options)


def test_a_text_without_options_has_none() -> None:
    assert listed("Who wins?\n- Ann\n- Bo") is None
    assert listed("not ( True ) is") is None


def test_options_out_of_order_are_refused() -> None:
    with pytest.raises(UnorderedOptionsError, match="A B D"):
        listed("Who?\nA. x\nB. y\nD. z")


def test_marks_go_where_every_option_has_its_own() -> None:
    assert unmarked(["(A) x", "(B) y"]) == ("x", "y")
    assert unmarked(["A. x", "C. y"]) == ("A. x", "C. y")
    assert unmarked(["A. x", "y"]) == ("A. x", "y")


@pytest.mark.parametrize(
    ("text", "stem", "question"),
    [
        ("Ann met Mr. Bo. Who was met?", "Ann met Mr. Bo.", "Who was met?"),
        ("They swap. At the end, Ann has", "They swap.", "At the end, Ann has"),
        ("甲说谎。乙说真话。谁说谎？", "甲说谎。乙说真话。", "谁说谎？"),
        ("Ann is first. Bo is last.", "Ann is first. Bo is last.", ASK),
        ("安第一。", "安第一。", ASK_CHINESE),
        ("Who wins?", "Who wins?", ASK),
        ("It takes 1.5 hours. How long is it?", "It takes 1.5 hours.", "How long is it?"),
    ],
)
def test_a_text_is_divided_at_its_last_sentence_where_that_asks(text: str, stem: str, question: str) -> None:
    assert divided(text) == (stem, question)
