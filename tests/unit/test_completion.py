"""Completions: the last valid letter, and why there is none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.questions.completion import Parsed, parse_completion
from nonet.voting.ballot import AbstentionReason


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("答案是：A", "A"),
        ("答案是:B", "B"),
        ("答案是：Ｃ", "C"),
        ("答案: (B)", "B"),
        ("答案为 D。", "D"),
        ("答案选C", "C"),
        ("正确答案是选项 B", "B"),
        ("因此，正确选项为：C。", "C"),
        ("故选B。", "B"),
        ("所以选择（C）", "C"),
        ("**答案是：B**", "B"),
        ("答案是：**D**", "D"),
        ("答案是：“A”。", "A"),
        ("最终答案：\n\nC", "C"),
        ("The answer is (C).", "C"),
        ("Answer is C", "C"),
        ("answer: b", "B"),
        ("The answer is A because it holds.", "A"),
        ("The correct option is D", "D"),
        (r"So we get \boxed{B}.", "B"),
        (r"$\boxed{\text{C}}$", "C"),
        ("<answer>D</answer>", "D"),
        ("B", "B"),
        (" c.f. nothing\n(C)", "C"),
        ("选项 C 成立", "C"),
    ],
)
def test_ways_of_answering(text: str, letter: str) -> None:
    assert parse_completion(text, "ABCD") == Parsed(letter, None)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("先假设答案是：A，矛盾。所以答案是：C", "C"),
        ("选项A不对，选项B不对，答案是：D", "D"),
        ("答案是：B，因为 C 和 D 都不成立", "B"),
        ("答案是：A。不对，应该是B", "B"),
        ("不能选A，不应选C，故选B，而D不行", "B"),
        ("A is out. B is out. It must be C", "C"),
        ("<think>答案是：A，或者答案是：D</think>答案是：B", "B"),
        ("答案是：B</think>", "B"),
        ("答案是：B。答案是：E", "B"),
        ("选择题 2：\n答案是：B", "B"),
        ("The answer is B. A man walks.", "B"),
        ("B holds; A man walks.", "B"),
        ("答案不是A，答案是C", "C"),
    ],
)
def test_the_last_valid_statement_wins(text: str, letter: str) -> None:
    assert parse_completion(text, "ABCD").letter == letter


@pytest.mark.parametrize(
    ("text", "cut_off", "reason"),
    [
        ("", False, AbstentionReason.EMPTY),
        (" \n\u3000", False, AbstentionReason.EMPTY),
        ("", True, AbstentionReason.CUT_OFF),
        ("题目没有给出足够的条件。", False, AbstentionReason.NO_LETTER),
        ("I do not know.", False, AbstentionReason.NO_LETTER),
        ("A man walks.", False, AbstentionReason.NO_LETTER),
        ("答案是：E", False, AbstentionReason.LETTER_OUT_OF_RANGE),
        ("选项A不对。答案是：F", False, AbstentionReason.LETTER_OUT_OF_RANGE),
        ("(H)", False, AbstentionReason.LETTER_OUT_OF_RANGE),
        ("答案是：A或B", False, AbstentionReason.SEVERAL_LETTERS),
        ("答案是：ABD", False, AbstentionReason.SEVERAL_LETTERS),
        ("首先看选项A，", True, AbstentionReason.CUT_OFF),
    ],
)
def test_an_abstention_says_why(text: str, cut_off: bool, reason: AbstentionReason) -> None:
    assert parse_completion(text, "ABCD", cut_off=cut_off) == Parsed(None, reason)


def test_an_answer_before_the_cut_counts() -> None:
    assert parse_completion("答案是：B。下面检查", "ABCD", cut_off=True).letter == "B"


def test_the_letters_are_those_of_the_question() -> None:
    assert parse_completion("答案是：E", "ABCDE").letter == "E"
    assert parse_completion("答案是：C", "AB").reason is AbstentionReason.LETTER_OUT_OF_RANGE


@settings(deadline=None)
@given(
    st.text(alphabet="ABCDEFGH答案是选不：:()（）。 \nansweri*{}\\boxd、或", max_size=60),
    st.sampled_from(["AB", "ABCD"]),
)
def test_any_text_gives_a_valid_letter_or_a_reason(text: str, letters: str) -> None:
    parsed = parse_completion(text, letters)
    assert (parsed.letter is None) != (parsed.reason is None)
    assert parsed.letter is None or parsed.letter in letters


@settings(deadline=None)
@given(st.text(max_size=80), st.sampled_from("ABCD"))
def test_a_closing_line_decides_whatever_comes_before(text: str, letter: str) -> None:
    assert parse_completion(f"{text}\n答案是：{letter}", "ABCD").letter == letter
