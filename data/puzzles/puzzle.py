"""What a puzzle is: a stem, what can be asked about it, and how an ask becomes a question with lettered options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Language = Literal["zh", "en"]
LETTERS = "ABCDE"


@dataclass(frozen=True)
class Ask:
    """One thing to ask about a stem: the right option and every wrong one that may stand beside it."""

    text: str
    right: str
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Puzzle:
    """A stem with one to four asks and a sentence that states the whole solution."""

    family: str
    language: Language
    stem: str
    asks: tuple[Ask, ...]
    solution: str


@dataclass(frozen=True)
class Choice:
    """A question with its options in their final order; `answer` is the letter of the right one."""

    text: str
    options: tuple[str, ...]
    answer: str


def lay_options(ask: Ask, rng: Random) -> Choice:
    """Draw two to five options and shuffle them, so that neither number nor place tells the answer."""
    most = min(len(LETTERS), len(ask.wrong) + 1)
    count = rng.randint(min(3, most), most) if rng.random() < 0.8 else rng.randint(2, most)
    options = [ask.right, *rng.sample(ask.wrong, count - 1)]
    rng.shuffle(options)
    return Choice(ask.text, tuple(options), LETTERS[options.index(ask.right)])


def others(pool: Sequence[str], right: str) -> tuple[str, ...]:
    """Every entry of `pool` but the right one."""
    return tuple(entry for entry in pool if entry != right)


def enumerate_words(words: Sequence[str], language: Language) -> str:
    """Write a list the way the language does: 甲、乙、丙 or Ann, Bob, Cid."""
    return ("、" if language == "zh" else ", ").join(words)
