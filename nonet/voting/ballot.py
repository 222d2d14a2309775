"""Ballots: one member's answer to one question, or why there is none.

Knows a ballot's shape and its JSON. Knows no engine and counts no votes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nonet.questions.problem import LETTERS

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
    BUDGET_SPENT = "budget_spent"
    """The member had written as many tokens over the shard as it may."""
    DECIDED = "decided"
    """The member was not asked: no ballot of it could have changed the verdict (nonet.voting.decided)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One of several replies of a member to one question: a `letter` or the `reason` for having none."""

    letter: str | None
    reason: AbstentionReason | None = None

    def __post_init__(self) -> None:
        if (self.letter is None) == (self.reason is None):
            raise ValueError(f"a sample has a letter or a reason, not {self.letter!r} and {self.reason!r}")


@dataclass(frozen=True, slots=True)
class Ballot:
    """`letter` or, for an abstention, `reason`: exactly one of them is set.

    `logprobs` holds one natural log-probability per option, normalised over the question's options; ()
    where the engine has none. `samples` holds the replies where the member gave several; all of them vote, and
    `letter` is the member's own answer: the commonest, of equals the one given first. Raises ValueError where a value
    is not finite or above 0, or both or neither of letter and reason are set.
    """

    question_id: str
    letter: str | None
    logprobs: tuple[float, ...] = ()
    reason: AbstentionReason | None = None
    samples: tuple[Sample, ...] = ()

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

    @property
    def asked(self) -> bool:
        """Whether the member was asked at all."""
        return self.reason is not AbstentionReason.DECIDED

    @property
    def letters(self) -> tuple[str | None, ...]:
        """What is counted: the letter of each sample, or the one letter; None for an abstention."""
        return tuple(sample.letter for sample in self.samples) if self.samples else (self.letter,)

    def to_json(self) -> dict[str, Any]:
        """`{"q", "letter", "logprobs", "reason"}`, and `samples`, a list of `[letter, reason]`, where there are any."""
        logprobs = list(self.logprobs)
        row = {"q": self.question_id, "letter": self.letter, "logprobs": logprobs, "reason": _told(self.reason)}
        samples = [[sample.letter, _told(sample.reason)] for sample in self.samples]
        return row | ({"samples": samples} if samples else {})

    @classmethod
    def from_json(cls, row: object) -> Ballot:
        """The inverse of `to_json`. Raises ValueError for anything else."""
        if not isinstance(row, Mapping) or set(row) - {"samples"} != {"q", "letter", "logprobs", "reason"}:
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
            tuple(_sample(sample) for sample in row.get("samples", ())),
        )


def sampled(question_id: str, samples: Sequence[Sample]) -> Ballot:
    """The ballot of a member that gave `samples`: the commonest letter, of equals the one given first; an abstention
    for the first one's reason where no sample has a letter.
    """
    counts = Counter(sample.letter for sample in samples if sample.letter is not None)
    letter = max(counts, key=lambda found: counts[found]) if counts else None  # of equals the first that was counted
    return Ballot(question_id, letter, (), None if letter else samples[0].reason, tuple(samples))


def _sample(row: object) -> Sample:
    if not isinstance(row, list) or len(row) != 2:
        raise ValueError(f"not a sample: {row!r}; expected [letter, reason]")
    letter, reason = row
    if letter is not None and (not isinstance(letter, str) or len(letter) != 1 or letter not in LETTERS):
        raise ValueError(f"not a sample: {row!r}; {letter!r} is no letter")
    return Sample(letter, None if reason is None else AbstentionReason(reason))


def _told(reason: AbstentionReason | None) -> str | None:
    return None if reason is None else reason.value


Ballots = Mapping[str, Mapping[str, Ballot]]
"""Member name → question id → ballot."""
