"""From an engine's numbers and words to ballots."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.engines import Ask, EngineError
from nonet.engines.ballots import letter_ballot, text_ballot
from nonet.voting.ballot import AbstentionReason, Ballot

ASK = Ask("p#0", (1, 2), "ABCD", (10, 11, 12, 13))


def test_likeliest_letter_and_of_equals_the_earlier() -> None:
    assert letter_ballot(ASK, [-3.0, -1.0, -2.0, -1.0]).letter == "B"


@given(st.lists(st.floats(-60, 60), min_size=4, max_size=4))
def test_logprobs_are_normalised_over_the_options(values: list[float]) -> None:
    ballot = letter_ballot(ASK, values)
    assert sum(map(math.exp, ballot.logprobs)) == pytest.approx(1, abs=1e-5)
    assert ballot.letter == "ABCD"[values.index(max(values))]
    assert Ballot.from_json(ballot.to_json()) == ballot


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_the_engines_fault(bad: float) -> None:
    with pytest.raises(EngineError, match="p#0"):
        letter_ballot(ASK, [0.0, bad, 0.0, 0.0])


@pytest.mark.parametrize(
    ("text", "ended", "letter", "reason"),
    [
        ("推理……答案是：C", True, "C", None),
        ("答案是：C", False, "C", None),
        ("答案是：J", True, None, AbstentionReason.LETTER_OUT_OF_RANGE),
        ("先看第一句，", False, None, AbstentionReason.CUT_OFF),
        ("", True, None, AbstentionReason.EMPTY),
    ],
)
def test_text(text: str, ended: bool, letter: str | None, reason: AbstentionReason | None) -> None:
    assert text_ballot(ASK, text, ended=ended) == Ballot("p#0", letter, (), reason)
