"""Family `match`: each person keeps one pet; clues say who does not keep what."""

from __future__ import annotations

from random import Random

from data.puzzles.lexicon import NAMES, PETS
from data.puzzles.puzzle import Ask, Language, Puzzle, enumerate_words, others


def make(rng: Random, language: Language, style: int) -> Puzzle:
    """Draw three or four people and the clues that leave one way: each clue rules out all that earlier ones leave."""
    people = rng.sample(NAMES[language], rng.randint(3, 4))
    pets = rng.sample(PETS[language], len(people))
    clues = []
    for place in range(len(people) - 1):
        ruled_out = pets[place + 1 :]
        rng.shuffle(ruled_out)
        clues.append(_tell_clue(people[place], ruled_out, language))
    rng.shuffle(clues)
    keeps = dict(zip(people, pets, strict=True))
    stem = _tell_frame(rng, people, pets, language, style) + "".join(clues)
    asks = (_ask_owner(rng, keeps, language, style), _ask_pet(rng, keeps, language, style))
    solution = ("，" if language == "zh" else ", ").join(
        f"{person}养{pet}" if language == "zh" else f"{person} keeps the {pet}" for person, pet in keeps.items()
    )
    return Puzzle("match", language, stem.strip(), asks, solution)


def _tell_frame(rng: Random, people: list[str], pets: list[str], language: Language, style: int) -> str:
    who = enumerate_words(rng.sample(people, len(people)), language)
    what = enumerate_words(rng.sample(pets, len(pets)), language)
    if language == "zh":
        return f"{who}各养一种：{what}。" if style == 0 else f"动物有{what}，{who}每人养一种。"
    return f"{who} keep one each: {what}. " if style == 0 else f"Pets: {what}. Owners, one each: {who}. "


def _tell_clue(person: str, pets: list[str], language: Language) -> str:
    if language == "zh":
        return f"{person}不养{'和'.join(pets)}。"
    return f"{person} keeps no {' or '.join(pets)}. "


def _ask_owner(rng: Random, keeps: dict[str, str], language: Language, style: int) -> Ask:
    person = rng.choice(list(keeps))
    if language == "zh":
        text = f"谁养{keeps[person]}？" if style == 0 else f"{keeps[person]}是谁养的？"
    else:
        text = f"Who keeps the {keeps[person]}?" if style == 0 else f"Whose is the {keeps[person]}?"
    return Ask(text, person, others(list(keeps), person))


def _ask_pet(rng: Random, keeps: dict[str, str], language: Language, style: int) -> Ask:
    person = rng.choice(list(keeps))
    if language == "zh":
        text = f"{person}养什么？" if style == 0 else f"哪种动物是{person}的？"
    else:
        text = f"What does {person} keep?" if style == 0 else f"Which pet has {person}?"
    return Ask(text, keeps[person], others(list(keeps.values()), keeps[person]))
