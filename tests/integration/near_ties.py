"""Answers of two stacks or engines side by side: the same letters, but for near ties, which are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BFLOAT16 = "avx512f" in Path("/proc/cpuinfo").read_text().split()
NEAR_TIE = 0.1 if BFLOAT16 else 0.001
APART = 0.15 if BFLOAT16 else 0.0005
"""How far log-probabilities of the two engines may lie apart anywhere."""

Ballots = Mapping[str, Sequence[Mapping[str, Any]]]
"""Ballots with log-probabilities by adapter."""


@dataclass(frozen=True)
class Compared:
    """How many `answers` were compared, how far their log-probabilities lie apart at most; a line for each question
    that is a near tie, and for each `other` one whose letter differs.
    """

    answers: int
    apart: float
    ties: tuple[str, ...]
    other: tuple[str, ...]

    def told(self, what: str) -> str:
        """For people: the figures, and the near ties by name."""
        ties = "\n".join(self.ties) or "none"
        return f"\n{what}: {self.answers} answers, at most {self.apart:.6f} apart; near ties:\n{ties} "


def compared(expected: Ballots, given: Ballots, near_tie: float) -> Compared:
    """Compare ballots on the same questions; a near tie is one whose two likeliest letters are less than `near_tie`
    apart in the `expected` log-probability.
    """
    assert given.keys() == expected.keys()
    ties, other, apart, answers = [], [], 0.0, 0
    for name, ballots in expected.items():
        assert [ballot["q"] for ballot in given[name]] == [ballot["q"] for ballot in ballots]
        for ballot, own in zip(ballots, given[name], strict=True):
            answers += 1
            apart = max(apart, *(abs(a - b) for a, b in zip(own["logprobs"], ballot["logprobs"], strict=True)))
            first, second = sorted(ballot["logprobs"], reverse=True)[:2]
            line = f"{name} {ballot['q']}: {ballot['letter']} and {own['letter']}, gap {first - second:.4f}"
            if first - second < near_tie:
                ties.append(line)
            elif own["letter"] != ballot["letter"]:
                other.append(line)
    return Compared(answers, apart, tuple(ties), tuple(other))
