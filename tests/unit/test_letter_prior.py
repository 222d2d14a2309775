"""The bench's experiment: a letter's prior is found whatever the options, and taken away."""

from __future__ import annotations

import math

import pytest

from bench.letter_prior import all_debiased, debiased, letter_prior
from nonet.voting.ballot import Ballot
from tests.unit.electorate import drawn


def test_a_prior_that_was_added_is_taken_away() -> None:
    plain = drawn(400, {"a": 2.0})
    bias = (1.5, 0.0, -0.5, 0.0)
    biased = {}
    for question, ballot in plain.cast("a").items():
        raw = [value + extra for value, extra in zip(ballot.logprobs, bias, strict=True)]
        total = math.log(sum(map(math.exp, raw)))
        values = tuple(value - total for value in raw)
        biased[question] = Ballot(question, "ABCD"[values.index(max(values))], values)
    right = [{q: b.letter == plain.gold[q] for q, b in cast.items()} for cast in (plain.cast("a"), biased)]
    assert sum(right[1].values()) < sum(right[0].values())
    prior = letter_prior(biased)[4]
    own = letter_prior(plain.cast("a"))[4]
    gained = [after - before for after, before in zip(prior, own, strict=True)]
    assert [value - gained[1] for value in gained] == pytest.approx(bias, abs=1e-9)
    restored = all_debiased(plain, {"a": plain.cast("a")}).ballots["a"]
    for question, ballot in biased.items():
        again = debiased(ballot, {4: prior})
        assert again.letter == restored[question].letter
        assert again.logprobs == pytest.approx(restored[question].logprobs, abs=1e-6)


def test_what_has_no_prior_stays() -> None:
    text, pair = Ballot("q#0", "A"), Ballot("q#1", "A", (-0.1, -2.4))
    assert debiased(text, {4: (-1.0,) * 4}) == text
    assert debiased(pair, {4: (-1.0,) * 4}) == pair
