"""A worker asked to stop while something keeps it from stopping well: it ends within its deadline all the same."""

from __future__ import annotations

import signal
import time

from nonet.runs.attempt import Attempt, Outcome
from nonet.runs.plan import Plan
from tests.faults.mounts import lost
from tests.faults.paced import PacedRig, Reference
from tests.promises import check_promises

DEADLINE = 5.0
ENDING = 10.0
"""Seconds that Celery takes to end after that, on a machine that is busy; on an idle one it is one or two."""


def test_drain_of_a_hung_compute_process(paced: PacedRig, reference: Reference) -> None:
    """Row 4: it is asked for a checkpoint and cannot answer. The deadline passes, it is killed, the work given back."""
    paced.environment["NONET_DRAIN_SECONDS"] = str(DEADLINE)
    paced.start("redis", "scheduler", "all0")
    with paced.held("training"):
        plan = paced.submit(reference.batch)
        paced.wait_for_step(plan, 0, 1)
        (hung,) = paced.compute_processes()
        hung.suspend()
        assert DEADLINE <= drained(paced, "all0") < DEADLINE + ENDING
    assert not hung.is_running()
    (first,) = tries(paced, plan)
    assert (first.outcome, first.error_class) == (Outcome.DRAINED, None)
    paced.start("all0")
    paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=1)


def test_drain_while_answering(paced: PacedRig, reference: Reference) -> None:
    """Row 4: a shard needs no checkpoint; its cells are given back at once, and nobody is blamed."""
    paced.start("redis", "scheduler", "all0")
    with paced.held("answering"):
        plan = paced.submit(reference.batch)
        cells = {c.key for c in plan.cells}
        paced.wait(lambda: bool(cells & set(paced.open_attempts(plan))), 300, "a shard in work")
        working = set(paced.open_attempts(plan))
        assert drained(paced, "all0") < paced.settings.drain_seconds
    outcomes = {paced.attempts.history(key)[-1].outcome for key in working}
    assert outcomes == {Outcome.DRAINED}
    paced.start("all0")
    paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=len(working))


def test_drain_while_storage_is_away(paced: PacedRig, reference: Reference) -> None:
    """Rows 4 and 15: what it made cannot be kept anywhere. It does not wait for that, and the work is done again."""
    paced.start("redis", "scheduler", "all0")
    with paced.held("training"):
        plan = paced.submit(reference.batch)
        paced.wait_for_step(plan, 0, 1)
        with lost(paced.home, "read-only"):
            (paced.pace / "training.hold").unlink()
            paced.wait_for_log("all0", "waiting, storage is not well")
            assert drained(paced, "all0") < paced.settings.drain_seconds
            assert not paced.compute_processes()
    paced.start("all1")
    paced.finish(plan)
    assert [a.outcome for a in tries(paced, plan)] == [Outcome.LOST, Outcome.COMMITTED]
    check_promises(paced, plan, expected=reference.submission, extra_executions=1)


def drained(rig: PacedRig, name: str) -> float:
    """Ask a worker to stop; the seconds until it has ended, in good order."""
    asked = time.monotonic()
    rig.kill(name, signal.SIGTERM)
    assert rig.processes.pop(name).wait(60) == 0, rig.tails()
    return time.monotonic() - asked


def tries(rig: PacedRig, plan: Plan) -> tuple[Attempt, ...]:
    """Attempts at the first adapter."""
    return rig.attempts.history(plan.adapters[0].key)
