"""Family `swap`: everyone holds a thing, pairs exchange, who holds what in the end."""

from __future__ import annotations

from random import Random

from data.puzzles.lexicon import ITEMS, NAMES
from data.puzzles.puzzle import Ask, Language, Puzzle, others


def make(rng: Random, language: Language, style: int) -> Puzzle:
    """Draw three to five people and one to four exchanges."""
    people = rng.sample(NAMES[language], rng.randint(3, 5))
    items = rng.sample(ITEMS[language], len(people))
    start = dict(zip(people, items, strict=True))
    swaps = [rng.sample(people, 2) for _ in range(rng.randint(1, 4))]
    end = dict(start)
    for one, two in swaps:
        end[one], end[two] = end[two], end[one]
    stem = _tell_start(start, language, style) + "".join(_tell_swap(pair, language, style) for pair in swaps)
    first, second = _draw_asked(rng, start, end), _draw_asked(rng, start, end)
    asks = (_ask_holder(first, end, language, style), _ask_item(second, end, language, style))
    solution = _tell_start({person: end[person] for person in people}, language, 0)
    return Puzzle("swap", language, stem.strip(), asks, solution.strip())


def _draw_asked(rng: Random, start: dict[str, str], end: dict[str, str]) -> str:
    """Draw a person; one who kept their thing as rarely as guessing at random would find one."""
    kept = [person for person in start if start[person] == end[person]]
    moved = [person for person in start if start[person] != end[person]]
    if kept and (not moved or rng.random() < 1 / len(start)):
        return rng.choice(kept)
    return rng.choice(moved)


def _tell_start(held: dict[str, str], language: Language, style: int) -> str:
    if language == "zh":
        verb = "拿着" if style == 0 else "有"
        return "，".join(f"{person}{verb}{item}" for person, item in held.items()) + "。"
    verb = "holds" if style == 0 else "has"
    return ", ".join(f"{person} {verb} the {item}" for person, item in held.items()) + ". "


def _tell_swap(pair: list[str], language: Language, style: int) -> str:
    one, two = pair
    if language == "zh":
        return f"{one}和{two}交换。" if style == 0 else f"然后{one}与{two}互换。"
    return f"{one} and {two} swap. " if style == 0 else f"Then {one} trades with {two}. "


def _ask_holder(person: str, end: dict[str, str], language: Language, style: int) -> Ask:
    item = end[person]
    if language == "zh":
        text = f"最后谁拿着{item}？" if style == 0 else f"{item}最后在谁手里？"
    else:
        text = f"Who holds the {item} at the end?" if style == 0 else f"Who has the {item} now?"
    return Ask(text, person, others(list(end), person))


def _ask_item(person: str, end: dict[str, str], language: Language, style: int) -> Ask:
    if language == "zh":
        text = f"最后{person}拿着什么？" if style == 0 else f"{person}手里最后是什么？"
    else:
        text = f"What does {person} hold at the end?" if style == 0 else f"What does {person} have now?"
    return Ask(text, end[person], others(list(end.values()), end[person]))
