"""Family `turn`: each of a few people faces a direction and turns; where do they look in the end."""

from __future__ import annotations

from random import Random

from data.puzzles.lexicon import DIRECTIONS, NAMES
from data.puzzles.puzzle import Ask, Language, Puzzle, others

# quarter turns clockwise -> how it is told
TURNS: dict[Language, dict[int, str]] = {
    "zh": {1: "右转", 2: "掉头", 3: "左转"},
    "en": {1: "turns right", 2: "turns back", 3: "turns left"},
}


def make(rng: Random, language: Language, style: int) -> Puzzle:
    """Draw two or three people with two to four turns each."""
    people = rng.sample(NAMES[language], rng.randint(2, 3))
    faces: dict[str, int] = {}
    stem = ""
    for person in people:
        start = rng.randrange(4)
        turns = [rng.randint(1, 3) for _ in range(rng.randint(2, 4))]
        faces[person] = (start + sum(turns)) % 4
        stem += _tell(person, start, turns, language, style)
    asks = [_ask_direction(person, faces, language, style) for person in rng.sample(people, 2)]
    asks += _ask_person(rng, faces, language, style)
    solution = ("，" if language == "zh" else ", ").join(
        person + ("" if language == "zh" else " ") + DIRECTIONS[language][faces[person]] for person in people
    )
    return Puzzle("turn", language, stem.strip(), tuple(asks), solution)


def _tell(person: str, start: int, turns: list[int], language: Language, style: int) -> str:
    told = [TURNS[language][turn] for turn in turns]
    if language == "zh":
        verb = "面向" if style == 0 else "开始看着"
        return f"{person}{verb}{DIRECTIONS[language][start]}，" + "，".join(told) + "。"
    verb = "faces" if style == 0 else "first looks"
    return f"{person} {verb} {DIRECTIONS[language][start]}, " + ", ".join(told) + ". "


def _ask_direction(person: str, faces: dict[str, int], language: Language, style: int) -> Ask:
    right = DIRECTIONS[language][faces[person]]
    if language == "zh":
        text = f"{person}最后面向哪里？" if style == 0 else f"{person}最后看着哪边？"
    else:
        text = f"Where does {person} face now?" if style == 0 else f"Where does {person} look now?"
    return Ask(text, right, others(DIRECTIONS[language], right))


def _ask_person(rng: Random, faces: dict[str, int], language: Language, style: int) -> list[Ask]:
    """Ask who faces a direction that only one person faces: none if they share it."""
    person = rng.choice(list(faces))
    if sum(face == faces[person] for face in faces.values()) > 1:
        return []
    name = DIRECTIONS[language][faces[person]]
    if language == "zh":
        text = f"最后谁面向{name}？" if style == 0 else f"最后谁看着{name}？"
    else:
        text = f"Who faces {name} now?" if style == 0 else f"Who looks {name} now?"
    return [Ask(text, person, others(list(faces), person))]
