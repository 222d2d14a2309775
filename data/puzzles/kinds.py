"""Family `kinds`: chains of invented kinds; what an individual must be, and what stays open."""

from __future__ import annotations

import itertools
from random import Random

from data.puzzles.lexicon import KINDS, NAMES
from data.puzzles.puzzle import Ask, Language, Puzzle, others

VERDICTS: dict[Language, tuple[str, str, str]] = {"zh": ("是", "不是", "不一定"), "en": ("yes", "no", "unknown")}
Member = tuple[str, int, int]  # name, chain, level (0: the narrowest kind)


def make(rng: Random, language: Language, style: int) -> Puzzle:
    """Draw two or three chains of three kinds with an individual in each; the first two chains exclude each other."""
    count = rng.randint(2, 3)
    kinds = rng.sample(KINDS[language], 3 * count)
    chains = [kinds[3 * number : 3 * number + 3] for number in range(count)]
    names = rng.sample(NAMES[language], count)
    members: list[Member] = [(name, number, rng.randint(0, 1)) for number, name in enumerate(names)]
    told = [_tell_all(low, high, language) for chain in chains for low, high in itertools.pairwise(chain)]
    told += [_tell_member(name, chains[chain][level], language) for name, chain, level in members]
    told.append(_tell_none(chains[0][2], chains[1][2], language))
    rng.shuffle(told)
    asks = (_ask_kind(rng, members, chains, language, style), _ask_verdict(rng, members, chains, language))
    solution = ("，" if language == "zh" else ", ").join(
        _tell_member(name, kind, language).strip("。. ")
        for name, chain, level in members
        for kind in chains[chain][level:]
    )
    return Puzzle("kinds", language, "".join(told).strip(), asks, solution)


def _tell_all(low: str, high: str, language: Language) -> str:
    return f"{low}都是{high}。" if language == "zh" else f"Every {low} is a {high}. "


def _tell_none(one: str, two: str, language: Language) -> str:
    return f"{one}都不是{two}。" if language == "zh" else f"No {one} is a {two}. "


def _tell_member(name: str, kind: str, language: Language) -> str:
    return f"{name}是{kind}。" if language == "zh" else f"{name} is a {kind}. "


def _ask_kind(rng: Random, members: list[Member], chains: list[list[str]], language: Language, style: int) -> Ask:
    """Ask what someone must be; each option is what the individual of one chain must be, so they look alike."""
    above = [rng.choice(chains[chain][level + 1 :]) for _, chain, level in members]
    asked = rng.randrange(len(members))
    name = members[asked][0]
    if language == "zh":
        text = f"{name}一定是什么？" if style == 0 else f"能推出{name}是什么？"
    else:
        text = f"What must {name} be?" if style == 0 else f"What else is {name}?"
    return Ask(text, above[asked], others(above, above[asked]))


def _ask_verdict(rng: Random, members: list[Member], chains: list[list[str]], language: Language) -> Ask:
    """Ask whether someone is of a kind: yes, no and open are equally likely."""
    verdict = rng.randrange(3)
    fitting = [member for member in members[:2] if verdict != 2 or member[2] > 0 or len(chains) > 2]
    if not fitting:
        verdict, fitting = rng.randrange(2), members[:2]
    name, chain, level = rng.choice(fitting)
    if verdict == 0:
        kind = rng.choice(chains[chain][level + 1 :])
    elif verdict == 1:
        kind = rng.choice(chains[1 - chain])
    else:
        kind = rng.choice(chains[chain][:level] + [kind for other in chains[2:] for kind in other])
    verdicts = VERDICTS[language]
    text = f"{name}是{kind}吗？" if language == "zh" else f"Is {name} a {kind}?"
    return Ask(text, verdicts[verdict], others(verdicts, verdicts[verdict]))
