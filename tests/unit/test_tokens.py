"""Prompts in tokens: what is cut, what never is. A tokenizer of one token a character stands for a base's."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.questions.prompt import Prompt, user_text
from nonet.questions.tokens import letter_ids, prompt_ids, reply_ids

QUESTION = "选择题 1：\n谁最高？"
OPTIONS = ("赵一", "钱二", "Anna", "Ben")
END = 7


class Characters:
    """A tokenizer: one token a character, or one for `merges` where they occur."""

    eos_token_id: int | None = END

    def __init__(self, *merges: str) -> None:
        self._pieces = re.compile("|".join([*map(re.escape, merges), "(?s:.)"]))

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return [sum(ord(c) << (16 * at) for at, c in enumerate(piece)) for piece in self._pieces.findall(text)]

    def apply_chat_template(self, chat: list[dict[str, str]], **options: Any) -> str:
        assert options == {"tokenize": False, "add_generation_prompt": True}
        return "".join(f"<{turn['role']}>{turn['content']}</>" for turn in chat) + "<assistant>"


def text_of(ids: tuple[int, ...]) -> str:
    return "".join(map(chr, ids))


def whole(stem: str, prompt: Prompt) -> str:
    prefix = prompt.prefix if prompt.answer == "letter" else ""
    return f"<system>{prompt.system}</><user>{user_text(stem, QUESTION, OPTIONS)}</><assistant>{prefix}"


def test_prompt_that_fits_is_whole() -> None:
    prompt = Prompt()
    encoded = prompt_ids(Characters(), prompt, "一二三", QUESTION, OPTIONS, 1000)
    assert encoded.cut == 0
    assert text_of(encoded.ids) == whole("一二三", prompt)


@pytest.mark.parametrize("answer", ["letter", "text"])
@given(stem=st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF), max_size=80), room=st.integers(0, 120))
def test_only_the_stem_is_cut_and_no_more_than_needed(answer: Any, stem: str, room: int) -> None:
    prompt = Prompt(system="s", prefix="答案是：", answer=answer)
    tokenizer = Characters()
    reply = len(reply_ids(tokenizer, prompt, "A"))
    limit = len(whole("", prompt)) + reply + room
    encoded = prompt_ids(tokenizer, prompt, stem, QUESTION, OPTIONS, limit)
    kept = min(len(stem), room)
    assert text_of(encoded.ids) == whole(stem[:kept], prompt)
    assert encoded.cut == len(stem) - kept
    assert len(encoded.ids) + reply <= limit


@given(stem=st.text("高比", max_size=60), room=st.integers(0, 60))
def test_merged_tokens_are_cut_within_the_limit(stem: str, room: int) -> None:
    tokenizer, prompt = Characters("高比", "高高高"), Prompt(system="")
    bare = len(prompt_ids(tokenizer, prompt, "", QUESTION, OPTIONS, 10_000).ids)
    encoded = prompt_ids(tokenizer, prompt, stem, QUESTION, OPTIONS, bare + 1 + room)
    assert len(encoded.ids) <= bare + room
    assert len(encoded.ids) + encoded.cut == len(tokenizer.encode(whole_without_system(stem), add_special_tokens=False))


def whole_without_system(stem: str) -> str:
    return f"<user>{user_text(stem, QUESTION, OPTIONS)}</><assistant>{Prompt().prefix}"


def test_question_that_does_not_fit_is_refused_with_the_length_it_needs() -> None:
    prompt, tokenizer = Prompt(system=""), Characters()
    bare = len(whole_without_system(""))
    with pytest.raises(ValueError, match=rf"takes {bare} tokens .* raise max_length to {bare + 1} or more"):
        prompt_ids(tokenizer, prompt, "stem", QUESTION, OPTIONS, bare)
    assert prompt_ids(tokenizer, prompt, "stem", QUESTION, OPTIONS, bare + 1).cut == 4


def test_reply_is_a_letter_or_the_whole_last_line() -> None:
    tokenizer = Characters()
    assert reply_ids(tokenizer, Prompt(), "B") == (ord("B"),)
    text = reply_ids(tokenizer, Prompt(prefix="答：", answer="text"), "B")
    assert text == (ord("答"), ord("："), ord("B"), END)


def test_letters_are_single_tokens_or_refused() -> None:
    assert letter_ids(Characters(), "ABC") == (65, 66, 67)

    class Splitting(Characters):
        def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
            return [0, *super().encode(text, add_special_tokens=add_special_tokens)]

    with pytest.raises(ValueError, match="splits the letter 'A' into 2 tokens"):
        letter_ids(Splitting(), "AB")


def test_text_reply_needs_an_end() -> None:
    tokenizer = Characters()
    tokenizer.eos_token_id = None
    with pytest.raises(ValueError, match="no end token"):
        reply_ids(tokenizer, Prompt(answer="text"), "A")
