"""Logic puzzles in Chinese and English, one module per family, drawn so that no answer pattern gives them away."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from data.puzzles import kinds, liar, match, order, swap, turn, weekday
from data.puzzles.puzzle import Choice, Language, Puzzle, lay_options

Family = Callable[[Random, Language, int], Puzzle]

FAMILIES: dict[str, Family] = {
    "order": order.make,
    "swap": swap.make,
    "liar": liar.make,
    "weekday": weekday.make,
    "turn": turn.make,
    "kinds": kinds.make,
    "match": match.make,
}

__all__ = ["FAMILIES", "Choice", "Family", "Language", "Puzzle", "draw_puzzle", "lay_options"]


def draw_puzzle(rng: Random, family: str, language: Language, style: int) -> Puzzle:
    """Draw one puzzle of a family; `style` (0 or 1) picks the wording."""
    return FAMILIES[family](rng, language, style)
