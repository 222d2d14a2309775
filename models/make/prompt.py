"""The prompt's shape, as the pretraining text needs it. The system's own copy is `nonet/questions/prompt.py`."""

from __future__ import annotations

from collections.abc import Sequence

from data.puzzles.puzzle import LETTERS

DEMO_SYSTEM = "选出正确的选项。Answer with one letter."
SYSTEMS = (
    DEMO_SYSTEM,
    "你是一个逻辑推理专家，只选一个答案。",
    "You are a logic expert. Choose one option.",
    "",
)
PREFIX = "答案是："
ROLES = ("system", "user", "assistant")
LABELS = ("题目:", "问题:", "选项:", "选择题 1：", "Question 1:", PREFIX, "解：", "答：", "推理：", *ROLES)


def write_options(options: Sequence[str]) -> str:
    """One line per option: its letter, a full stop, its text."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))


def write_user(stem: str, question: str, options: Sequence[str]) -> str:
    """The user's turn."""
    return f"题目:{stem}\n问题:\n{question}\n选项:\n{write_options(options)}"


def write_chat(system: str, user: str, prefix: str) -> str:
    """The whole prompt up to, not including, the letter."""
    return (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n{prefix}"
    )
