"""Statistics of scores: how sure an accuracy is, and whether two answerers differ. Knows counts, no ballots.

Own functions, since they are a few lines each: scipy and statsmodels would put 200 MB on every machine of the fleet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import comb, sqrt
from statistics import NormalDist
from typing import Any

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of an accuracy, 0 <= low <= high <= 1."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two answerers on the same questions: right `only_first`, right `only_second` (the discordant pairs), and the
    two-sided probability `p` of a split at least as uneven if neither were better.
    """

    only_first: int
    only_second: int
    p: float

    def to_json(self) -> dict[str, Any]:
        """`{"only_first", "only_second", "p"}`."""
        return asdict(self)


def wilson(correct: int, total: int, confidence: float = CONFIDENCE) -> Interval | None:
    """Wilson's score interval for `correct` of `total`; None where total is 0.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927) 209-212;
    recommended for small samples by Brown, Cai and DasGupta, Statistical Science 16 (2001) 101-133. It takes
    questions for independent: those that share a stem are not quite, so it is somewhat too narrow. Raises
    ValueError for counts that cannot be, or a confidence outside (0, 1).
    """
    if not 0 <= correct <= total or not 0 < confidence < 1:
        raise ValueError(f"{correct} correct of {total} at confidence {confidence}")
    if total == 0:
        return None
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = correct / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    return Interval(low, 1.0 if correct == total else min(1.0, centre + half))


def mcnemar(only_first: int, only_second: int) -> PairedTest:
    """McNemar's test in its exact form: a two-sided sign test on the discordant pairs.

    Q. McNemar, Psychometrika 12 (1947) 153-157; exact form: A. Agresti, Categorical Data Analysis (3rd ed., 2013),
    11.1. Raises ValueError for a negative count.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"{only_first} and {only_second} discordant pairs")
    pairs = only_first + only_second
    tail = sum(comb(pairs, count) for count in range(min(only_first, only_second) + 1))
    return PairedTest(only_first, only_second, min(1.0, 2 * tail / 2**pairs))


def paired_test(pairs: Iterable[tuple[bool, bool]]) -> PairedTest:
    """`mcnemar` of (first is right, second is right) on each question."""
    counted = [first - second for first, second in pairs]
    return mcnemar(counted.count(1), counted.count(-1))
