"""A finding of `nonet doctor`. Knows its shape only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cli.exit_codes import ExitCode


class Health(StrEnum):
    """What a check found."""

    GOOD = "ok"
    WARNING = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `exit_code` is that of the command when it is bad."""

    what: str
    health: Health
    text: str
    exit_code: ExitCode = ExitCode.DONE
