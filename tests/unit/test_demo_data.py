"""The demo's data: the same bytes from the same seed, nothing shared, nothing given away."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from data.make_demo import TEST, WRONG, build_files, draw_problems
from data.make_examples import FILES, build_table
from data.puzzles import FAMILIES, Choice
from data.puzzles.puzzle import LETTERS

DEMO = Path(__file__).parents[2] / "data" / "demo"
Score = Callable[[str, Choice, int], float]


@cache
def built() -> dict[str, str]:
    return build_files()


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DEMO / name).read_text("utf-8").splitlines()]


def answers(name: str) -> list[str]:
    return [question["answer"] for row in rows(name) for question in row["questions"]]


@pytest.mark.parametrize("name", sorted(path.name for path in DEMO.glob("*.jsonl")))
def test_regenerates_byte_for_byte(name: str) -> None:
    assert (DEMO / name).read_bytes() == built()[name].encode()


def test_writes_no_other_files() -> None:
    assert {path.name for path in DEMO.iterdir()} == set(built())


def test_stems_are_never_shared() -> None:
    names = ("test.jsonl", "official.jsonl", "prelim.jsonl", "extra.jsonl")
    stems = [row["problem"] for name in names for row in rows(name)]
    assert len(stems) == len(set(stems))


def test_test_has_gold_apart() -> None:
    asked, gold = rows("test.jsonl"), rows("test_gold.jsonl")
    assert len(asked) >= 120
    assert not any("answer" in question for row in asked for question in row["questions"])
    for row in gold:
        for question in row["questions"]:
            assert question.pop("answer") in LETTERS[: len(question["options"])]
    assert asked == gold


def test_labels_are_as_wrong_as_told() -> None:
    gold = draw_gold("prelim")
    for name in ("prelim", "prelim_hand"):
        wrong = sum(one != two for one, two in zip(answers(f"{name}.jsonl"), gold, strict=True))
        assert wrong == round(WRONG[name] * len(gold))


def draw_gold(source: str) -> list[str]:
    """The letters of a source before any was spoiled."""
    import data.make_demo as demo

    seen: set[str] = set()
    drawn = {}
    for entry in (demo.TEST, demo.OFFICIAL, demo.PRELIM, demo.EXTRA):
        drawn[entry.name] = draw_problems(entry, Random(f"{demo.SEED}/{entry.name}"), seen)
    return [choice.answer for problem in drawn[source] for choice in problem.choices]


@cache
def sampled(family: str | None) -> list[tuple[str, Choice]]:
    """About 10 000 questions of the test's kind, or of one family."""
    families = TEST.families if family is None else {family: 1.0}
    source = replace(TEST, problems=4000, families=families)
    return [(item.stem, choice) for item in draw_problems(source, Random(9), set()) for choice in item.choices]


def gain(questions: list[tuple[str, Choice]], score: Score) -> float:
    """How far picking the option of highest score (ties shared) is above guessing, as a share of the questions."""
    total = 0.0
    for stem, choice in questions:
        scores = [score(stem, choice, place) for place in range(len(choice.options))]
        best = [place for place, one in enumerate(scores) if one == max(scores)]
        total += (LETTERS.index(choice.answer) in best) / len(best) - 1 / len(choice.options)
    return total / len(questions)


SHORTCUTS: dict[str, Score] = {
    "first letter": lambda stem, choice, place: -place,
    "last letter": lambda stem, choice, place: place,
    "second letter": lambda stem, choice, place: place == 1,
    "longest": lambda stem, choice, place: len(choice.options[place]),
    "shortest": lambda stem, choice, place: -len(choice.options[place]),
    "most mentioned": lambda stem, choice, place: stem.count(choice.options[place]),
    "least mentioned": lambda stem, choice, place: -stem.count(choice.options[place]),
    "mentioned first": lambda stem, choice, place: -stem.find(choice.options[place]),
    "mentioned last": lambda stem, choice, place: stem.rfind(choice.options[place]),
}


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("family", [None, *FAMILIES])
def test_no_shortcut_finds_the_answer(family: str | None, shortcut: str) -> None:
    # Liars: over three claims majority and parity are opposed, so a word's count says a little. Hence not tighter.
    assert gain(sampled(family), SHORTCUTS[shortcut]) < 0.04


@pytest.mark.parametrize("family", [None, *FAMILIES])
def test_words_of_the_options_tell_nothing(family: str | None) -> None:
    """A bag of words over the options alone, fitted on one half, tried on the other."""
    questions = sampled(family)
    half = len(questions) // 2
    seen: Counter[str] = Counter()
    surplus: defaultdict[str, float] = defaultdict(float)
    for _, choice in questions[:half]:
        for letter, option in zip(LETTERS, choice.options, strict=False):
            for word in words(option):
                seen[word] += 1
                surplus[word] += (letter == choice.answer) - 1 / len(choice.options)

    def score(stem: str, choice: Choice, place: int) -> float:
        found = words(choice.options[place])
        return sum(surplus[word] / (seen[word] + 5) for word in found) / max(1, len(found))

    assert gain(questions[half:], score) < 0.04


def words(option: str) -> set[str]:
    return set(re.findall(r"[a-zA-Z]+|[^\x00-\x7f]", option))


def test_letters_are_balanced() -> None:
    """Among questions with the same number of options each letter is right equally often."""
    for count in range(2, 6):
        right = Counter(choice.answer for _, choice in sampled(None) if len(choice.options) == count)
        total = sum(right.values())
        assert all(abs(right[letter] / total - 1 / count) < 0.04 for letter in LETTERS[:count])


@pytest.mark.parametrize("name", FILES)
def test_the_examples_are_the_demos_rows_as_tables(name: str) -> None:
    assert (DEMO.parent / "examples" / name).read_text("utf-8") == build_table(*FILES[name])
