"""Calibration: how sure a member's log-probabilities should be. Knows temperatures; weighs no votes.

Temperature scaling: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from nonet.voting.ballot import Ballot

LOWEST, HIGHEST = 0.05, 20.0
"""Bounds of a temperature: a member that is always right would ask for 0, one that is always wrong for infinity."""
HALVINGS = 24
DIGITS = 4


def temperature(cast: Mapping[str, Ballot], gold: Mapping[str, str], letters: Mapping[str, str]) -> float:
    """The temperature at which the gold letters are likeliest under the ballots `cast`, by question id.

    Ballots without log-probabilities say nothing; where all are so, 1. The likelihood is concave in
    1 / temperature, so its slope is bisected. Plain floats in a fixed order and four digits, so that every machine
    finds the same.
    """
    held = [(b.logprobs, letters[q].index(gold[q])) for q, b in sorted(cast.items()) if b.logprobs and q in gold]
    if not held:
        return 1.0
    low, high = math.log(1 / HIGHEST), math.log(1 / LOWEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _slope(held, math.exp(middle)) > 0:
            low = middle
        else:
            high = middle
    return round(math.exp(-(low + high) / 2), DIGITS)


def _slope(held: list[tuple[tuple[float, ...], int]], sharpness: float) -> float:
    """d(log-likelihood) / d(sharpness), where sharpness is 1 / temperature."""
    total = 0.0
    for logprobs, right in held:
        top = max(logprobs)
        powers = [math.exp(sharpness * (value - top)) for value in logprobs]
        mean = sum(power * value for power, value in zip(powers, logprobs, strict=True)) / sum(powers)
        total += logprobs[right] - mean
    return total
