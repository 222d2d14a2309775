"""A check of a verification. Knows its shape only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What a check came to."""

    PASS = "pass"
    FAIL = "fail"
    MISSING = "missing"
    """The run has not made it yet."""
    UNCHECKED = "unchecked"
    """What it is to be compared with is not here, or failed itself."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: the kind of thing (`what`), what was found, and what to do about it ("" after a pass)."""

    outcome: Outcome
    what: str
    text: str
    remedy: str = ""
