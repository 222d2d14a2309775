"""The prompt: how a question is put to a base.

Knows the words and their order. Knows no tokenizer: chat template, prefix and cutting are in `nonet.questions.tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nonet.questions.problem import LETTERS

Answer = Literal["letter", "text"]

SYSTEM = (
    "你是一个逻辑推理专家，擅长解决逻辑推理问题。以下是一道逻辑推理题，形式为单项选择题。"
    "所有问题都采用闭世界假设（closed-world assumption），即未观测到的事实都为假。"
    "请分析问题，并在最后一行给出答案，最后一行的格式为“答案是：A”。"
)
PREFIX = "答案是："


@dataclass(frozen=True, slots=True)
class Prompt:
    """`system` message; `prefix` that opens the reply, so that the next token is the letter; `answer`:
    "letter" takes that one token, "text" lets the base write freely and parses the letter out of it (then
    no prefix is given).
    """

    system: str = SYSTEM
    prefix: str = PREFIX
    answer: Answer = "letter"

    def to_json(self) -> dict[str, Any]:
        """The prompt as a JSON object."""
        return {"system": self.system, "prefix": self.prefix, "answer": self.answer}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Prompt:
        """The inverse of `to_json`. Raises ValueError for other fields or values."""
        texts = all(isinstance(text, str) for text in row.values())
        if set(row) != {"system", "prefix", "answer"} or not texts:
            raise ValueError(f"not a prompt: {dict(row)!r}; expected the texts system, prefix and answer")
        if row["answer"] not in ("letter", "text"):
            raise ValueError(f"a prompt's answer is 'letter' or 'text', not {row['answer']!r}")
        return cls(row["system"], row["prefix"], row["answer"])


def user_text(stem: str, question: str, options: Sequence[str]) -> str:
    """The user message: stem, question, lettered options. Raises ValueError for more options than letters."""
    lettered = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    if len(lettered) != len(options):
        raise ValueError(f"{len(options)} options, but only {len(LETTERS)} letters")
    return "\n".join([f"题目:{stem}", "问题:", question, "选项:", *lettered])


def messages(prompt: Prompt, stem: str, question: str, options: Sequence[str]) -> list[dict[str, str]]:
    """The chat before the reply: a system message (left out where empty) and the user's."""
    user = {"role": "user", "content": user_text(stem, question, options)}
    return [{"role": "system", "content": prompt.system}, user] if prompt.system else [user]
