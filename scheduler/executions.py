"""Executions: what the attempts on storage add up to, by task and by how they ended. Counts, decides nothing.

Attempts are never removed, so the counts only grow, whichever process counts them. An attempt that has ended is read
once; after that, one listing a key shows that nothing was added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from config.queues import INFER_TASK, TRAIN_TASK, VOTE_TASK
from nonet.runs.attempt import Attempt, Attempts, ErrorClass, Outcome
from nonet.runs.plan import Plan
from tasks.lease import LEASE_LOSSES

TASKS = (TRAIN_TASK, INFER_TASK, VOTE_TASK)
ENDS = (
    *((outcome.value, "") for outcome in (Outcome.COMMITTED, Outcome.CANCELLED, Outcome.DRAINED)),
    *((Outcome.FAILED.value, error.value) for error in ErrorClass if error is not ErrorClass.WORKER_LOST),
    (Outcome.LOST.value, ErrorClass.WORKER_LOST.value),
)
"""Ways to end, as (outcome, error class), that are told from the start, with 0."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Executions begun by task, ended by (task, outcome, error class), and leases lost by task."""

    begun: Mapping[str, int]
    ended: Mapping[tuple[str, str, str], int]
    leases_lost: Mapping[str, int]


class Executions:
    """The attempts under one home."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._settled: dict[str, tuple[Attempt, ...]] = {}

    def count(self, plans: Mapping[str, Plan]) -> Counts:
        """Every execution so far; `plans`, by run, tell which task a key belongs to. Raises OSError."""
        begun = Counter(dict.fromkeys(TASKS, 0))
        ended = Counter(dict.fromkeys(((task, *end) for task in TASKS for end in ENDS), 0))
        leases_lost = Counter(dict.fromkeys(TASKS, 0))
        tasks = {key: task for plan in plans.values() for key, task in _tasks(plan)}
        for key in self._attempts.tried():
            task = tasks.get(key, VOTE_TASK)
            for attempt in self._history(key):
                begun[task] += 1
                if attempt.outcome is not None:
                    ended[task, attempt.outcome.value, attempt.error_class.value if attempt.error_class else ""] += 1
                leases_lost[task] += attempt.outcome is Outcome.LOST and attempt.error in LEASE_LOSSES
        return Counts(begun, ended, leases_lost)

    def _history(self, key: str) -> tuple[Attempt, ...]:
        known = self._settled.get(key)
        if known is not None and self._attempts.latest(key) == known[-1].epoch:
            return known
        history = self._attempts.history(key)
        if history and all(attempt.outcome is not None for attempt in history):
            self._settled[key] = history
        return history


def _tasks(plan: Plan) -> list[tuple[str, str]]:
    trained = [(adapter.key, TRAIN_TASK) for adapter in plan.adapters]
    return trained + [(cell.key, INFER_TASK) for cell in plan.cells]
