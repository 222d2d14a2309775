"""From an engine's numbers and words to ballots: the same for every engine. Knows no model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nonet.engines import Ask, EngineError
from nonet.questions.completion import parse_completion
from nonet.voting.ballot import Ballot

DIGITS = 6
"""Decimals kept of a log-probability; below what engines agree on."""


def letter_ballot(ask: Ask, logprobs: Sequence[float]) -> Ballot:
    """The ballot for `logprobs`, one per option: normalised over them, the likeliest letter, of equals the earlier.

    Raises EngineError where a value is not finite.
    """
    if not all(math.isfinite(value) for value in logprobs):
        raise EngineError(
            f"{ask.question_id}: the log-probabilities are {list(logprobs)}, not numbers; "
            "the base or the adapter overflows in this engine's number format"
        )
    top = max(logprobs)
    total = top + math.log(sum(math.exp(value - top) for value in logprobs))
    normalised = tuple(min(0.0, round(value - total, DIGITS)) for value in logprobs)
    return Ballot(ask.question_id, ask.letters[logprobs.index(top)], normalised)


def text_ballot(ask: Ask, text: str, *, ended: bool) -> Ballot:
    """The ballot parsed from a reply; `ended`: it came to its own end, not to that of its tokens."""
    parsed = parse_completion(text, ask.letters, cut_off=not ended)
    return Ballot(ask.question_id, parsed.letter, (), parsed.reason)
