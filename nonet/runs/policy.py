"""Retry policy: what the attempts at a key so far allow next. Pure; knows no storage, no queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from nonet.runs.attempt import Attempt, ErrorClass, Outcome


class Standing(StrEnum):
    """What the history of a key allows."""

    READY = "ready"
    OPEN = "open"  # the latest attempt has not ended
    EXHAUSTED = "exhausted"  # not again without `nonet rerun`


@dataclass(frozen=True, slots=True)
class Judgement:
    """Standing of a key; `group` is how many may share its next attempt (None: any number); `last` explains it."""

    standing: Standing
    group: int | None = None
    last: Attempt | None = None


def judge(history: Sequence[Attempt], pardoned: int, limit: int) -> Judgement:
    """Judge a key by its attempts: `pardoned` is the last forgiven epoch, `limit` the failures allowed.

    Bad input is never retried. A lost worker, an engine error, a timeout and out of memory alone count towards
    `limit`; what was drained or cancelled does not, nor does a storage error, which says nothing about the work. What
    ran out of memory in company is tried in half of it. What failed otherwise is tried alone from then on, so that one
    bad key cannot exhaust its group.
    """
    counted = [a for a in history if a.epoch > pardoned]
    if not counted:
        return Judgement(Standing.READY)
    last = counted[-1]
    if last.outcome is None:
        return Judgement(Standing.OPEN, last=last)
    failures = [a for a in counted if a.outcome in (Outcome.FAILED, Outcome.LOST) and not _blameless(a)]
    if any(a.error_class is ErrorClass.BAD_INPUT for a in failures) or len(failures) >= limit:
        return Judgement(Standing.EXHAUSTED, 1, failures[-1])
    crowded = [max(1, a.group // 2) for a in counted if a.error_class is ErrorClass.OUT_OF_MEMORY]
    group = 1 if failures else min(crowded, default=None)
    return Judgement(Standing.READY, group, last)


def _blameless(attempt: Attempt) -> bool:
    if attempt.error_class is ErrorClass.OUT_OF_MEMORY:
        return attempt.group > 1
    return attempt.error_class is ErrorClass.STORAGE
