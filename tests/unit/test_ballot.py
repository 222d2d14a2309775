"""Ballots: a letter, or a reason for having none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nonet.voting.ballot import AbstentionReason, Ballot


@pytest.mark.parametrize(
    "ballot",
    [
        Ballot("row#0", "B", (-1.5, -0.25), None),
        Ballot("row#1", "D", ()),
        Ballot("row#2", None, (), AbstentionReason.CUT_OFF),
        Ballot("row#3", None, (-0.7, -0.7), AbstentionReason.NO_LETTER),
    ],
)
def test_json_and_back(ballot: Ballot) -> None:
    assert Ballot.from_json(json.loads(json.dumps(ballot.to_json()))) == ballot


def test_the_json_is_the_contracts() -> None:
    assert Ballot("row#0", "B", (-1.5, -0.25)).to_json() == {
        "q": "row#0",
        "letter": "B",
        "logprobs": [-1.5, -0.25],
        "reason": None,
    }
    assert Ballot("r#1", None, (), AbstentionReason.EMPTY).to_json()["reason"] == "empty"


@pytest.mark.parametrize(
    ("letter", "logprobs", "reason"),
    [
        (None, (), None),
        ("A", (), AbstentionReason.EMPTY),
        ("K", (), None),
        ("AB", (), None),
        ("", (), None),
        ("C", (-0.1, -0.2), None),
        ("A", (float("nan"), -1.0), None),
        ("A", (float("-inf"), -1.0), None),
        ("A", (0.5, -1.0), None),
    ],
)
def test_an_impossible_ballot_is_refused(
    letter: str | None, logprobs: tuple[float, ...], reason: AbstentionReason | None
) -> None:
    with pytest.raises(ValueError, match="'row#0'"):
        Ballot("row#0", letter, logprobs, reason)


@pytest.mark.parametrize(
    "change",
    [
        {"q": 1},
        {"letter": 1},
        {"logprobs": "x"},
        {"logprobs": ["-1"]},
        {"logprobs": [True]},
        {"reason": "tired", "letter": None},
        {"more": 1},
    ],
)
def test_another_shape_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"ballot|AbstentionReason"):
        Ballot.from_json({**Ballot("row#0", "A", (-0.1, -3.0)).to_json(), **change})
    with pytest.raises(ValueError, match="not a ballot"):
        Ballot.from_json(["row#0", "A"])
