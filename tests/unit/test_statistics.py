"""Intervals and paired tests beside published figures and a brute-force count."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.voting.statistics import mcnemar, paired_test, wilson


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_newcombes_figures(correct: int, total: int, low: float, high: float) -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3."""
    found = wilson(correct, total)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 2000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_holds_the_share_and_mirrors(counts: tuple[int, int]) -> None:
    correct, total = counts
    found, mirrored = wilson(correct, total), wilson(total - correct, total)
    assert found is not None
    assert mirrored is not None
    assert 0 <= found.low <= correct / total <= found.high <= 1
    assert found.low == pytest.approx(1 - mirrored.high)


def test_nothing_scored_has_no_interval() -> None:
    assert wilson(0, 0) is None
    found = wilson(4, 4)
    assert found is not None
    assert found.low == pytest.approx(0.5101, abs=1e-4)
    assert found.high == 1.0
    for correct, total, confidence in ((5, 4, 0.95), (-1, 4, 0.95), (1, 4, 1.0)):
        with pytest.raises(ValueError, match="correct of 4"):
            wilson(correct, total, confidence)


@given(st.integers(0, 6), st.integers(0, 6))
def test_mcnemar_counts_what_a_fair_coin_would_do(first: int, second: int) -> None:
    """Every sequence of as many fair throws; those at least as uneven are counted."""
    throws = list(product((0, 1), repeat=first + second))
    uneven = [t for t in throws if abs(2 * sum(t) - first - second) >= abs(first - second)]
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (first, second)
    assert found.p == pytest.approx(len(uneven) / len(throws))


def test_mcnemar_gives_known_figures() -> None:
    assert mcnemar(10, 1).p == pytest.approx(0.01172, abs=5e-6)  # R: binom.test(1, 11)
    assert mcnemar(86, 150).p == pytest.approx(3.716e-05, abs=5e-9)  # Agresti's approval ratings, table 11.1
    assert mcnemar(0, 0).p == 1.0
    with pytest.raises(ValueError, match="discordant"):
        mcnemar(-1, 3)


def test_pairs_that_agree_say_nothing() -> None:
    pairs = [(True, True)] * 50 + [(False, False)] * 9 + [(True, False)] * 3 + [(False, True)]
    assert paired_test(pairs) == mcnemar(3, 1)
