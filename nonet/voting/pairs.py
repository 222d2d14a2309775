"""Paired comparisons: every two answerers on the same questions. Knows letters and gold, not who answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from nonet.voting.statistics import PairedTest, paired_test

VOTE = "the vote"
"""Name of the vote among the answerers; no mix can be called so."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answerers, McNemar's `test` of them, and the part of the questions on which both give the same letter."""

    first: str
    second: str
    test: PairedTest
    agreement: float

    def to_json(self) -> dict[str, Any]:
        """Names, discordant pairs, two-sided p, agreement (0..1)."""
        names = {"first": self.first, "second": self.second}
        return names | self.test.to_json() | {"agreement": self.agreement}


def pairs_of(answers: Mapping[str, Mapping[str, str | None]], gold: Mapping[str, str]) -> tuple[Pair, ...]:
    """Every two of `answers` (letters by question id, by answerer) on the questions of `gold`; () where it is empty.

    A missing answer is wrong, and agrees with another missing one. The tests are as they are: with n answerers there
    are n(n-1)/2 of them, so that of 20 pairs of equals one has p < 0.05.
    """
    if not gold:
        return ()
    return tuple(
        Pair(a, b, compared(answers[a], answers[b], gold), _agreement(answers[a], answers[b], gold))
        for a, b in combinations(answers, 2)
    )


def compared(first: Mapping[str, str | None], second: Mapping[str, str | None], gold: Mapping[str, str]) -> PairedTest:
    """McNemar's test of two answerers' letters by question id."""
    return paired_test((first.get(q) == letter, second.get(q) == letter) for q, letter in gold.items())


def _agreement(first: Mapping[str, str | None], second: Mapping[str, str | None], gold: Mapping[str, str]) -> float:
    return sum(first.get(q) == second.get(q) for q in gold) / len(gold)


def pair_between(pairs: tuple[Pair, ...], first: str, second: str) -> PairedTest | None:
    """The test of `first` against `second`, whichever way round it was made; None where it was not."""
    for pair in pairs:
        if (pair.first, pair.second) == (first, second):
            return pair.test
        if (pair.first, pair.second) == (second, first):
            return PairedTest(pair.test.only_second, pair.test.only_first, pair.test.p)
    return None
