"""Labelled ballots made by hand or by lot, for the tests of what is fitted on them."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

from nonet.voting.ballot import Ballot
from nonet.voting.labelled import Labelled

LETTERS = "ABCD"


def hand_made(gold: str, answers: Mapping[str, str], stems: str | None = None) -> Labelled:
    """One question for each letter of `gold`; `answers` are each member's letters, `stems` a letter for each stem."""
    ids = [f"p{at}#0" for at in range(len(gold))]
    return Labelled(
        letters=dict.fromkeys(ids, LETTERS),
        gold=dict(zip(ids, gold, strict=True)),
        stems=dict(zip(ids, stems or ids, strict=True)),
        ballots={
            name: {q: Ballot(q, letter) for q, letter in zip(ids, own, strict=True)} for name, own in answers.items()
        },
    )


def drawn(questions: int, skills: Mapping[str, float], seed: int = 0, each: int = 2, sharp: float = 1.0) -> Labelled:
    """Members whose log-probabilities favour the gold letter by their skill, under noise of standard deviation 1.

    `each` questions share a stem; `sharp` multiplies all before they are normalised.
    """
    lot = random.Random(seed)
    ids = [f"p{at}#0" for at in range(questions)]
    gold = {q: lot.choice(LETTERS) for q in ids}
    ballots: dict[str, dict[str, Ballot]] = {name: {} for name in skills}
    for q in ids:
        for name, skill in skills.items():
            raw = [sharp * (lot.gauss(0, 1) + skill * (letter == gold[q])) for letter in LETTERS]
            total = math.log(sum(map(math.exp, raw)))
            values = tuple(min(0.0, round(value - total, 6)) for value in raw)
            ballots[name][q] = Ballot(q, LETTERS[values.index(max(values))], values)
    stems = {q: f"stem {at // each}" for at, q in enumerate(ids)}
    return Labelled(dict.fromkeys(ids, LETTERS), gold, stems, ballots)
