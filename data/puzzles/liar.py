"""Family `liar`: everyone either always lies or never does; one is known, the others speak of each other."""

from __future__ import annotations

import itertools
from random import Random

from data.puzzles.lexicon import NAMES
from data.puzzles.puzzle import Ask, Language, Puzzle

HONEST: dict[Language, tuple[str, str]] = {"zh": ("说谎", "说真话"), "en": ("lies", "is honest")}


def make(rng: Random, language: Language, style: int) -> Puzzle:
    """Draw three to five people; each status is an even coin, so no word in the stem gives one away."""
    people = rng.sample(NAMES[language], rng.randint(3, 5))
    honest = {person: rng.random() < 0.5 for person in people}
    told = [_tell_known(people[0], honest[people[0]], language, style)]
    for about, speaker in itertools.pairwise(people):
        told.append(_tell_claim(speaker, about, honest[speaker] == honest[about], language, style))
    rng.shuffle(told)
    asks = [_ask_status(person, honest, language, style) for person in rng.sample(people[1:], 2)]
    asks += _ask_who(rng, honest, language, style)
    solution = ("，" if language == "zh" else ", ").join(_status(person, honest[person], language) for person in people)
    return Puzzle("liar", language, "".join(told).strip(), tuple(asks), solution)


def _status(person: str, honest: bool, language: Language) -> str:
    return person + ("" if language == "zh" else " ") + HONEST[language][honest]


def _tell_known(person: str, honest: bool, language: Language, style: int) -> str:
    status = _status(person, honest, language)
    if language == "zh":
        return f"已知{status}。" if style == 0 else f"大家知道{status}。"
    return f"We know {status}. " if style == 0 else f"It is known that {status}. "


def _tell_claim(speaker: str, about: str, honest: bool, language: Language, style: int) -> str:
    status = _status(about, honest, language)
    if language == "zh":
        return f"{speaker}说{status}。" if style == 0 else f"{speaker}声称{status}。"
    return f"{speaker} says {status}. " if style == 0 else f"{speaker} claims {status}. "


def _ask_status(person: str, honest: dict[str, bool], language: Language, style: int) -> Ask:
    words = HONEST[language]
    if language == "zh":
        text = f"{person}怎样？" if style == 0 else f"{person}是哪种人？"
    else:
        text = f"What about {person}?" if style == 0 else f"What kind is {person}?"
    return Ask(text, words[honest[person]], (words[not honest[person]],))


def _ask_who(rng: Random, honest: dict[str, bool], language: Language, style: int) -> list[Ask]:
    """Ask for the one liar, or the one honest person, among the options: none if all are alike."""
    wanted = rng.random() < 0.5
    right = [person for person in honest if honest[person] is wanted]
    wrong = tuple(person for person in honest if honest[person] is not wanted)
    if not right or not wrong:
        return []
    if language == "zh":
        text = f"谁{HONEST[language][wanted]}？" if style == 0 else f"下面哪个人{HONEST[language][wanted]}？"
    else:
        text = f"Who {HONEST[language][wanted]}?" if style == 0 else f"Which one {HONEST[language][wanted]}?"
    return [Ask(text, rng.choice(right), wrong)]
