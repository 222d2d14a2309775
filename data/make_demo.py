"""Write the demo's sources and test set.

Run from the repository's root: `python -m data.make_demo [FOLDER]` (default `data/demo`). The same seed gives the same
bytes on every machine. No stem occurs twice, within a file or between two files, but for the two `prelim` files, which
hold the same rows with labels of different quality.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from data.puzzles import FAMILIES, Choice, Language, Puzzle, draw_puzzle, lay_options
from data.puzzles.puzzle import LETTERS

SEED = 20240923
Row = dict[str, object]


@dataclass(frozen=True)
class Source:
    """What a file is drawn from: how many problems, which families and wordings, how much Chinese."""

    name: str
    problems: int
    families: dict[str, float]
    chinese: float
    styles: tuple[int, ...]


# The base learned order, liar and weekday from its pretraining text, the other four not (see its model card): the
# demo asks mostly the former, and a few of the latter, as a test in life would.
WEIGHTS = {**dict.fromkeys(FAMILIES, 0.25), "order": 4.0, "liar": 3.0, "weekday": 3.0}
OFFICIAL = Source("official", 110, WEIGHTS, 0.7, (0,))
PRELIM = Source("prelim", 90, WEIGHTS, 0.7, (0, 1))
EXTRA = Source("extra", 80, {**WEIGHTS, "order": 2.0, "liar": 4.0}, 0.3, (1,))
TEST = Source("test", 160, WEIGHTS, 0.6, (0, 1))

WRONG = {"official": 0.0, "prelim": 0.14, "prelim_hand": 0.03, "extra": 0.10}


@dataclass(frozen=True)
class Problem:
    """A stem with its laid questions, before labels are spoiled."""

    language: Language
    stem: str
    choices: tuple[Choice, ...]


def draw_problems(source: Source, rng: Random, seen: set[str]) -> list[Problem]:
    """Draw a source's problems; a stem that was drawn before, here or for another source, is drawn anew."""
    problems: list[Problem] = []
    while len(problems) < source.problems:
        family = rng.choices(list(source.families), list(source.families.values()))[0]
        language: Language = "zh" if rng.random() < source.chinese else "en"
        puzzle = draw_puzzle(rng, family, language, rng.choice(source.styles))
        if puzzle.stem in seen:
            continue
        seen.add(puzzle.stem)
        problems.append(_lay_problem(puzzle, rng))
    return problems


def _lay_problem(puzzle: Puzzle, rng: Random) -> Problem:
    choices = tuple(lay_options(ask, rng) for ask in puzzle.asks)
    return Problem(puzzle.language, puzzle.stem, choices)


def spoil(problems: list[Problem], share: float, rng: Random) -> list[Problem]:
    """Give a share of the questions another letter, drawn evenly from the wrong ones."""
    places = [(row, place) for row, problem in enumerate(problems) for place in range(len(problem.choices))]
    chosen = set(rng.sample(places, round(share * len(places))))
    spoiled = []
    for row, problem in enumerate(problems):
        choices = tuple(
            _mislabel(choice, rng) if (row, place) in chosen else choice for place, choice in enumerate(problem.choices)
        )
        spoiled.append(replace(problem, choices=choices))
    return spoiled


def _mislabel(choice: Choice, rng: Random) -> Choice:
    letters = [letter for letter in LETTERS[: len(choice.options)] if letter != choice.answer]
    return replace(choice, answer=rng.choice(letters))


def write_rows(problems: list[Problem], name: str, *, labelled: bool) -> list[Row]:
    """The rows of a file, in the competition's shape."""
    rows: list[Row] = []
    for number, problem in enumerate(problems):
        questions = []
        for place, choice in enumerate(problem.choices, start=1):
            head = f"选择题 {place}：\n" if problem.language == "zh" else f"Question {place}:\n"
            question: Row = {"question": head + choice.text, "options": list(choice.options)}
            questions.append(question | ({"answer": choice.answer} if labelled else {}))
        rows.append({"id": f"demo_{name}_{number:03d}", "problem": problem.stem, "questions": questions})
    return rows


def build_files(seed: int = SEED) -> dict[str, str]:
    """Every file's name and text."""
    seen: set[str] = set()
    drawn = {
        source.name: draw_problems(source, Random(f"{seed}/{source.name}"), seen)
        for source in (TEST, OFFICIAL, PRELIM, EXTRA)
    }
    files = {
        "test.jsonl": write_rows(drawn["test"], "test", labelled=False),
        "test_gold.jsonl": write_rows(drawn["test"], "test", labelled=True),
    }
    for name, share in WRONG.items():
        source = name.split("_")[0]
        problems = spoil(drawn[source], share, Random(f"{seed}/wrong/{name}"))
        files[f"{name}.jsonl"] = write_rows(problems, source, labelled=True)
    return {name: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) for name, rows in files.items()}


def main(arguments: list[str]) -> None:
    """Write the files into the folder named first."""
    folder = Path(arguments[0]) if arguments else Path(__file__).parent / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in build_files().items():
        (folder / name).write_bytes(text.encode())
        questions = sum(len(json.loads(line)["questions"]) for line in text.splitlines())
        print(f"{name}: {len(text.splitlines())} problems, {questions} questions")


if __name__ == "__main__":
    main(sys.argv[1:])
