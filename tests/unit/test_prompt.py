"""Prompts: the template, word for word."""

from __future__ import annotations

import pytest

from nonet.questions.prompt import PREFIX, SYSTEM, Prompt, messages, user_text


def test_the_user_message_word_for_word() -> None:
    assert user_text("甲乙二人。", "选择题 1：\n谁？", ("甲", "乙", "甲")) == (
        "题目:甲乙二人。\n问题:\n选择题 1：\n谁？\n选项:\nA. 甲\nB. 乙\nC. 甲"
    )


def test_messages_hold_system_and_user() -> None:
    assert messages(Prompt(), "s", "q", ("a", "b")) == [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": user_text("s", "q", ("a", "b"))},
    ]
    assert [message["role"] for message in messages(Prompt(system=""), "s", "q", ("a", "b"))] == ["user"]


def test_the_teams_prompt_names_its_rules() -> None:
    assert "逻辑推理专家" in SYSTEM
    assert "单项选择题" in SYSTEM
    assert "闭世界" in SYSTEM
    assert f"{PREFIX}A" in SYSTEM
    assert Prompt().prefix == "答案是："


def test_more_options_than_letters_are_refused() -> None:
    with pytest.raises(ValueError, match="11 options"):
        user_text("s", "q", tuple("abcdefghijk"))


def test_json_and_back() -> None:
    prompt = Prompt("s", "p", "text")
    assert Prompt.from_json(prompt.to_json()) == prompt


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"system": "s", "prefix": "p"},
        {"system": "s", "prefix": 1, "answer": "text"},
        {"system": "s", "prefix": "p", "answer": "essay"},
        {"system": "s", "prefix": "p", "answer": "text", "more": ""},
    ],
)
def test_another_shape_is_refused(row: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="prompt"):
        Prompt.from_json(row)
