"""Family `order`: comparisons in shuffled order; who stands at which rank, and which comparison follows."""

from __future__ import annotations

import itertools
from random import Random

from data.puzzles.lexicon import NAMES
from data.puzzles.puzzle import Ask, Language, Puzzle, others

# more, less, most, least
SCALES: dict[Language, tuple[tuple[str, str, str, str], ...]] = {
    "zh": (("高", "矮", "最高", "最矮"), ("重", "轻", "最重", "最轻"), ("快", "慢", "最快", "最慢")),
    "en": (
        ("taller", "shorter", "tallest", "shortest"),
        ("heavier", "lighter", "heaviest", "lightest"),
        ("faster", "slower", "fastest", "slowest"),
    ),
}
ORDINALS = ("", "second ", "third ")


def make(rng: Random, language: Language, style: int) -> Puzzle:
    """Draw a total order of three to five people, told as a ring of comparisons: each is named twice."""
    scale = rng.choice(SCALES[language])
    people = rng.sample(NAMES[language], rng.randint(3, 5))  # first: most
    pairs = [*itertools.pairwise(people), (people[0], people[-1])]
    rng.shuffle(pairs)
    told = "".join(_compare(pair, scale, language, rng.random() < 0.5) + _stop(language) for pair in pairs)
    asks = [_ask_rank(rng, people, scale, language, style), _ask_rank(rng, people, scale, language, style)]
    if asks[0].text == asks[1].text:
        asks.pop()
    asks += _ask_pair(rng, people, told, scale, language, style)
    order = (" > " if language == "en" else "＞").join(people)
    return Puzzle("order", language, _intro(people, language, style) + told.strip(), tuple(asks), order)


def _stop(language: Language) -> str:
    return "。" if language == "zh" else ". "


def _intro(people: list[str], language: Language, style: int) -> str:
    if style == 0:
        return ""
    count = len(people)
    return f"有{count}个人互相比较。" if language == "zh" else f"There are {count} people. "


def _compare(pair: tuple[str, str], scale: tuple[str, str, str, str], language: Language, flip: bool) -> str:
    """State that the first of the pair has more, either way round."""
    first, second, word = (pair[1], pair[0], scale[1]) if flip else (pair[0], pair[1], scale[0])
    return f"{first}比{second}{word}" if language == "zh" else f"{first} is {word} than {second}"


def _ask_rank(rng: Random, people: list[str], scale: tuple[str, str, str, str], language: Language, style: int) -> Ask:
    rank = rng.randrange(len(people))
    from_top = rank < len(people) / 2 if len(people) % 2 == 0 else rank <= len(people) // 2
    steps = rank if from_top else len(people) - 1 - rank
    word = scale[2] if from_top else scale[3]
    if language == "zh":
        place = word if steps == 0 else f"第{'一二三'[steps]}{word[1:]}"
        text = f"{place}的是谁？" if style == 0 else f"谁{place}？"
    else:
        place = f"{ORDINALS[steps]}{word}"
        text = f"Who is the {place}?" if style == 0 else f"Name the {place}."
    return Ask(text, people[rank], others(people, people[rank]))


def _ask_pair(
    rng: Random, people: list[str], told: str, scale: tuple[str, str, str, str], language: Language, style: int
) -> list[Ask]:
    """Ask for the one true comparison; the wrong ones are true pairs turned round. The right one is never a sentence
    of the stem, which would give it away: none if there is no other."""
    pairs = [(a, b) for place, a in enumerate(people) for b in people[place + 1 :]]
    chosen = rng.sample(pairs, len(pairs))
    follows = [pair for pair in chosen if _compare(pair, scale, language, False) not in told]
    if not follows:
        return []
    wrong = [_compare((b, a), scale, language, False) for a, b in chosen if (a, b) != follows[0]]
    if language == "zh":
        text = "哪句话正确？" if style == 0 else "可以推出哪一句？"
    else:
        text = "Which is true?" if style == 0 else "Which one follows?"
    return [Ask(text, _compare(follows[0], scale, language, False), tuple(wrong))]
