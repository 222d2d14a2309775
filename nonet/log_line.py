"""One line of an attempt's log: when, of which run and artifact, and what. Pure; knows no file.

In a file: `2026-11-24T15:50:01Z small-4f1c2ab9 all/test-000 | what a process said`. Without blanks in the first three
fields, a line is as easy for `grep` and `cut` as it is for a person.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 3
"""Artifacts that a line names; of a larger group the others are counted."""
_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) (\S+) (\S+) \| (.*)", re.S)


@dataclass(frozen=True, slots=True)
class LogLine:
    """`time` in ISO 8601 (UTC), and `run` and `artifact`, are None in a line that no worker of Nonet wrote."""

    text: str
    time: str | None = None
    run: str | None = None
    artifact: str | None = None


def artifact_names(names: Sequence[str]) -> str:
    """What the lines of a log that artifacts share are marked with: `a,b,c`, or `a,b,c+6`."""
    more = f"+{len(names) - SHOWN}" if len(names) > SHOWN else ""
    return ",".join(names[:SHOWN]) + more


def written_line(run: str, artifact: str, text: str, now: float) -> str:
    """The line, with its end, for `text`; `now` is in seconds since 1970."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(now))} {run} {artifact} | {text.rstrip()}\n"


def read_line(line: str) -> LogLine:
    """The parts of a line as `written_line` wrote it; any other line is all text."""
    found = _LINE.fullmatch(line.rstrip("\r\n"))
    return LogLine(found[4], found[1], found[2], found[3]) if found else LogLine(line.rstrip("\r\n"))
