"""Option orders: every letter meets every option, and what comes back is mapped by position."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.engines import Ask
from nonet.questions.option_orders import averaged, turned
from nonet.voting.ballot import Ballot

LETTERS = "ABCDEFGHIJ"


def ask(options: int) -> Ask:
    return Ask("q#0", (), LETTERS[:options], tuple(range(options)))


def ballots(ask: Ask, merits: dict[str, float], shown: tuple[tuple[str, ...], ...], prior: list[float]) -> list[Ballot]:
    """What an engine gives that knows the options' merits and adds to each letter its prior."""
    cast = []
    for options in shown:
        raw = [merits[option] + prior[at] for at, option in enumerate(options)]
        total = math.log(sum(map(math.exp, raw)))
        values = tuple(min(0.0, value - total) for value in raw)
        cast.append(Ballot("q#0", ask.letters[values.index(max(values))], values))
    return cast


def test_the_first_order_is_the_given_one_and_none_repeats() -> None:
    assert turned("abcd", 3) == (("a", "b", "c", "d"), ("b", "c", "d", "a"), ("c", "d", "a", "b"))
    assert turned(("x", "x"), 9) == (("x", "x"), ("x", "x"))
    assert turned("abc", 1) == (("a", "b", "c"),)


@given(st.integers(2, 10).flatmap(lambda n: st.tuples(*[st.lists(st.floats(-5, 5), min_size=n, max_size=n)] * 2)))
def test_over_all_orders_a_prior_of_letters_cancels(drawn: tuple[list[float], list[float]]) -> None:
    values, prior = drawn
    options = LETTERS.lower()[: len(values)]
    merits = dict(zip(options, values, strict=True))
    shown = turned(options, len(options))
    one = ask(len(options))
    found = averaged(one, ballots(one, merits, shown, prior))
    plain = ballots(one, merits, shown[:1], [0.0] * len(options))[0]
    assert found.logprobs == pytest.approx(plain.logprobs, abs=2e-6)


def test_log_probabilities_are_averaged_by_option() -> None:
    cast = [Ballot("q#0", "A", (-0.1, -2.4, -9.0)), Ballot("q#0", "A", (-0.2, -5.0, -1.8))]
    found = averaged(ask(3), cast)
    # Turned once, the options stand as b, c, a: a's value is the third, b's the first.
    raw = [(-0.1 - 1.8) / 2, (-2.4 - 0.2) / 2, (-9.0 - 5.0) / 2]
    total = math.log(sum(map(math.exp, raw)))
    assert found.logprobs == pytest.approx([value - total for value in raw], abs=1e-6)
    assert found.letter == "A"
    assert averaged(ask(3), cast[:1]) == cast[0]
