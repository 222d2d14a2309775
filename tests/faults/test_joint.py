"""Adapters trained jointly by one message: shared out, killed, drained, cancelled, out of memory."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from nonet.runs.attempt import ErrorClass, Outcome
from nonet.runs.plan import ADAPTERS, Plan
from scheduler.state import Phase, UnitState
from tasks.announcement import announced
from tests.faults.paced import PacedRig, Reference
from tests.promises import check_promises
from tests.small_batch import write_batch

MIB = 2**20


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """The reference's batch with joint training; of its adapters `all` and `part`, the second is the shorter."""
    return write_batch(tmp_path / "joint", training=", trainer: joint")


def shorter_is_published(rig: PacedRig, plan: Plan) -> None:
    """Wait until one adapter is committed while the other is held one step before its end."""
    rig.wait(lambda: rig.storage.has(ADAPTERS, plan.adapters[1].key), 300, "the shorter adapter's commit")
    assert not rig.storage.has(ADAPTERS, plan.adapters[0].key), "each is published by itself"


def test_killed_in_the_middle(paced: PacedRig, reference: Reference, batch: Path) -> None:
    """Row 1: what was published stays; the rest goes on from its own checkpoint, to the same adapter."""
    paced.start("redis", "scheduler")
    with paced.held("training"):
        plan = paced.submit(batch)
        paced.start("all0")
        shorter_is_published(paced, plan)
        longer, shorter = (a.key for a in plan.adapters)
        (first,) = paced.attempts.history(longer)
        assert first.group == 2
        assert first.log == paced.attempts.history(shorter)[0].log, "by one message"
        progress = {u.key: u.progress for u in paced.state(plan).adapters}[longer]
        assert progress is not None
        assert progress["steps"] == plan.adapters[0].steps, "its own, not that of all"
        assert not paced.storage.home.progress(shorter).exists(), "what is done has no progress any more"
        (process,) = paced.compute_processes()
        process.kill()
        paced.wait(lambda: len(paced.attempts.history(longer)) == 2, 300, "another attempt")
    paced.finish(plan)
    outcomes = [(a.outcome, a.error_class, a.group) for a in paced.attempts.history(longer)]
    assert outcomes == [(Outcome.LOST, ErrorClass.WORKER_LOST, 2), (Outcome.COMMITTED, None, 1)]
    commit = paced.storage.read(ADAPTERS, longer)
    assert commit is not None
    assert commit.body["training"]["resumed_from"] >= 4
    assert paced.adapter_digests(plan) == reference.adapters, "the adapters of separate trainings"
    check_promises(paced, plan, expected=reference.submission, extra_executions=1)


def test_drained(paced: PacedRig, reference: Reference, batch: Path) -> None:
    """Row 4: every adapter of the message writes its checkpoint and is given back; nobody is blamed."""
    paced.start("redis", "scheduler")
    plan = paced.submit(batch)
    (paced.pace / "training.hold").touch()
    paced.start("all0")
    shorter_is_published(paced, plan)
    paced.kill("all0", signal.SIGTERM)
    assert paced.processes.pop("all0").wait(paced.settings.drain_seconds) == 0
    (first,) = paced.attempts.history(plan.adapters[0].key)
    assert (first.outcome, first.error_class) == (Outcome.DRAINED, None)
    (paced.pace / "training.hold").unlink()
    paced.start("all1")
    paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=1)


def test_cancelled(paced: PacedRig, batch: Path) -> None:
    """Row 22: what is done stays, the rest ends within seconds."""
    paced.start("redis", "scheduler")
    with paced.held("training"):
        plan = paced.submit(batch)
        paced.start("all0")
        shorter_is_published(paced, plan)
        paced.nonet("cancel", plan.run)
        paced.wait_for_phase(plan, Phase.CANCELLED)
        paced.wait(lambda: not paced.open_attempts(plan), 60, "the end of the training")
    (first,) = paced.attempts.history(plan.adapters[0].key)
    assert first.outcome is Outcome.CANCELLED
    assert [u.state for u in paced.state(plan).adapters] == [UnitState.READY, UnitState.COMMITTED]
    check_promises(paced, plan, expected=None, extra_executions=0)


def test_too_large_for_memory_is_halved(paced: PacedRig, reference: Reference, batch: Path) -> None:
    """Row 20: two adapters do not fit together, one does."""
    paced.environment |= {"NONET_MEMORY_LIMIT": "400MiB", "NONET_PACE_MEMORY": str(250 * MIB)}
    paced.start("redis", "scheduler")
    plan = paced.submit(batch)
    paced.start("all0")
    paced.wait(lambda: all(paced.storage.has(ADAPTERS, a.key) for a in plan.adapters), 300, "both adapters")
    paced.wait(lambda: all(paced.attempts.history(a.key)[-1].outcome for a in plan.adapters), 30, "their books closed")
    for adapter in plan.adapters:
        first, *_, last = paced.attempts.history(adapter.key)
        assert (first.error_class, first.group) == (ErrorClass.OUT_OF_MEMORY, 2)
        assert (last.outcome, last.group) == (Outcome.COMMITTED, 1)
    assert paced.adapter_digests(plan) == reference.adapters


def test_two_workers_share_the_adapters(paced: PacedRig, reference: Reference, batch: Path) -> None:
    """Without a fault: dispatch does not give all to one worker while the other idles."""
    paced.start("redis", "scheduler", "all0", "all1")
    paced.wait(lambda: len(announced(paced.client)) == 2, 300, "both announcements")
    with paced.held("training"):
        plan = paced.submit(batch)
        paced.wait(lambda: len(set(paced.open_attempts(plan).values())) == 2, 300, "both workers at work")
    paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)
