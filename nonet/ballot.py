"""Ballots: one member's answer to one question, or why there is none.

Knows a ballot's shape and its JSON. Knows no engine and counts no votes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nonet.problem import LETTERS

ROUNDING = 1e-4


class AbstentionReason(StrEnum):
    """Why a ballot has no letter."""

    EMPTY = "empty"
    """The reply holds no text."""
    NO_LETTER = "no_letter"
    """The reply names no letter."""
    LETTER_OUT_OF_RANGE = "letter_out_of_range"
    """The reply names letters, none of which the question has."""
    SEVERAL_LETTERS = "several_letters"
    """The reply gives more than one letter as its answer."""
    CUT_OFF = "cut_off"
    """The reply ran out of tokens before it gave its answer."""
    NOT_ANSWERED = "not_answered"
    """The engine gave no reply to this question."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """`letter` or, for an abstention, `reason`: exactly one of them is set.

    `logprobs` holds one natural log-probability per option, normalised over the question's options; ()
    where the engine has none. Raises ValueError where a value is not finite or above 0, or both or neither
    of letter and reason are set.
    """

    question_id: str
    letter: str | None
    logprobs: tuple[float, ...] = ()
    reason: AbstentionReason | None = None

    def __post_init__(self) -> None:
        if (self.letter is None) == (self.reason is None):
            raise ValueError(
                f"ballot on {self.question_id!r}: letter {self.letter!r} with reason {self.reason!r}; "
                "a ballot has a letter, or a reason for having none"
            )
        letters = LETTERS[: len(self.logprobs)] if self.logprobs else LETTERS
        if self.letter is not None and (len(self.letter) != 1 or self.letter not in letters):
            raise ValueError(f"ballot on {self.question_id!r}: {self.letter!r} is not one of {letters}")
        for value in self.logprobs:
            if not math.isfinite(value) or value > ROUNDING:
                what = f"{value} is no log-probability (finite, at most 0)"
                raise ValueError(f"ballot on {self.question_id!r}: {what}")

    def to_json(self) -> dict[str, Any]:
        """`{"q", "letter", "logprobs", "reason"}`."""
        reason = None if self.reason is None else self.reason.value
        logprobs = list(self.logprobs)
        return {"q": self.question_id, "letter": self.letter, "logprobs": logprobs, "reason": reason}

    @classmethod
    def from_json(cls, row: object) -> Ballot:
        """The inverse of `to_json`. Raises ValueError for anything else."""
        if not isinstance(row, Mapping) or set(row) != {"q", "letter", "logprobs", "reason"}:
            raise ValueError(f"not a ballot: {row!r}; expected the fields q, letter, logprobs and reason")
        letter, logprobs, reason = row["letter"], row["logprobs"], row["reason"]
        numbers = isinstance(logprobs, list) and all(type(value) in (int, float) for value in logprobs)
        if not isinstance(row["q"], str) or not isinstance(letter, str | None) or not numbers:
            raise ValueError(f"not a ballot: {row!r}; a field has another type")
        return cls(
            row["q"],
            letter,
            tuple(float(value) for value in logprobs),
            None if reason is None else AbstentionReason(reason),
        )


Ballots = Mapping[str, Mapping[str, Ballot]]
"""Member name → question id → ballot."""
