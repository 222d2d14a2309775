"""Tokens: a question as the token ids that a base reads, and its reply as those that it should write.

Knows chat templates, the prefix and `max_length`; pure over a tokenizer (transformers', or
nonet.questions.tokenizer's). Knows no model. Training and both engines read the same ids from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nonet.questions.prompt import Prompt, messages


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt's token `ids`; `cut` counts the tokens that were cut from its stem."""

    ids: tuple[int, ...]
    cut: int


def prompt_ids(
    tokenizer: Any, prompt: Prompt, stem: str, question: str, options: Sequence[str], max_length: int
) -> Encoded:
    """The chat up to the reply, then the prefix where the next token is the letter (prompt.answer "letter").

    Prompt and reply together hold at most `max_length` tokens: where they would not, the stem loses its tail; the
    question, its options and the reply are never cut. Raises ValueError where they do not fit without any stem.
    """
    room = max_length - _reply_length(tokenizer, prompt)
    whole = _encoded(tokenizer, prompt, stem, question, options)
    if len(whole) <= room:
        return Encoded(whole, 0)
    kept, low, high = None, 0, len(stem)
    while low <= high:
        middle = (low + high) // 2
        ids = _encoded(tokenizer, prompt, stem[:middle], question, options)
        if len(ids) <= room:
            kept, low = ids, middle + 1
        else:
            high = middle - 1
    if kept is None:
        bare = len(_encoded(tokenizer, prompt, "", question, options))
        raise ValueError(
            f"a question takes {bare} tokens without its stem and {max_length - room} for the reply, more than "
            f"max_length {max_length}: {question[:80]!r}; raise max_length to {bare + max_length - room} or more"
        )
    return Encoded(kept, len(whole) - len(kept))


def reply_ids(tokenizer: Any, prompt: Prompt, letter: str) -> tuple[int, ...]:
    """What the base should write after the prompt: the letter's token; as text, prefix, letter and end of turn."""
    if prompt.answer == "letter":
        return letter_ids(tokenizer, letter)
    return (*_plain(tokenizer, prompt.prefix), *letter_ids(tokenizer, letter), _end(tokenizer))


def letter_ids(tokenizer: Any, letters: str) -> tuple[int, ...]:
    """The token of each letter; raises ValueError where a letter is not a single token."""
    found = []
    for letter in letters:
        ids = _plain(tokenizer, letter)
        if len(ids) != 1:
            raise ValueError(
                f"the base's tokenizer splits the letter {letter!r} into {len(ids)} tokens; use another base"
            )
        found.append(ids[0])
    return tuple(found)


def _encoded(tokenizer: Any, prompt: Prompt, stem: str, question: str, options: Sequence[str]) -> tuple[int, ...]:
    chat = messages(prompt, stem, question, options)
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return _plain(tokenizer, text + (prompt.prefix if prompt.answer == "letter" else ""))


def _reply_length(tokenizer: Any, prompt: Prompt) -> int:
    return 1 if prompt.answer == "letter" else len(_plain(tokenizer, prompt.prefix)) + 2


def _plain(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def _end(tokenizer: Any) -> int:
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError("the base's tokenizer has no end token, so a text reply has no end; use answer: letter")
    return int(end)
