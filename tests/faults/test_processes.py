"""Compute processes and workers killed, frozen, drained, hung and cancelled in the middle of a real training."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from nonet.runs.attempt import Attempt, ErrorClass, Outcome
from nonet.runs.plan import ADAPTERS, Plan
from scheduler.state import Phase
from tests.faults.given import first_training, submit_given
from tests.promises import check_promises
from tests.rig import LEASE_SECONDS, Rig
from tests.undisturbed import Undisturbed

TICK = 0.5
"""The rig's tick_seconds."""
SHARE = 4.0
"""Seconds that a busy machine may take for what a tick and a delivery compute."""
STEP = 5
"""Past the first checkpoint (step 4) of a training of 20 steps or so."""


@pytest.fixture
def training(rig: Rig, undisturbed: Undisturbed) -> Plan:
    """A run whose first adapter is all that is missing; nothing is started yet."""
    rig.start("redis")
    return submit_given(rig, undisturbed, first_training)


def test_compute_process_killed_in_training(rig: Rig, undisturbed: Undisturbed, training: Plan) -> None:
    """Row 1: classified; the next epoch resumes the checkpoint; the adapter is identical to an undisturbed one."""
    rig.start("scheduler", "cpu", "w0")
    rig.wait_for_step(training, 0, STEP)
    (process,) = rig.compute_processes()
    process.kill()
    rig.wait_for_phase(training, Phase.COMPLETE)
    first, second = history(rig, training)
    assert (first.outcome, first.error_class) == (Outcome.LOST, ErrorClass.WORKER_LOST)
    assert "SIGKILL" in (first.error or "")
    assert second.worker == first.worker, "Celery's worker lived on"
    assert resumed_from(rig, training) >= 4
    finished(rig, training, undisturbed, 1)


def test_whole_worker_killed_in_training(rig: Rig, undisturbed: Undisturbed, training: Plan) -> None:
    """Row 2: taken over within the lease plus one tick; no orphan holds the device."""
    rig.start("scheduler", "cpu", "w0", "w1")
    rig.wait_for_step(training, 0, STEP)
    orphans = rig.compute_processes()
    busy, idle = at_work(rig, training)
    worker = rig.processes.pop(busy)
    killed = time.time()
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(30)
    psutil.wait_procs(orphans, 5)
    assert not any(o.is_running() for o in orphans), "the compute process ends with its worker"
    rig.wait(lambda: len(history(rig, training)) == 2, 300, "another worker's attempt")
    waited = history(rig, training)[1].started - killed
    assert waited < LEASE_SECONDS + TICK + SHARE, f"taken over after {waited:.1f} s"
    rig.wait_for_phase(training, Phase.COMPLETE)
    first, second = history(rig, training)
    assert (first.outcome, first.error_class) == (Outcome.LOST, ErrorClass.WORKER_LOST)
    assert second.worker.startswith(f"{idle}@")
    assert resumed_from(rig, training) >= 4
    finished(rig, training, undisturbed, 1)


def test_frozen_worker_wakes_up_with_a_finished_adapter(rig: Rig, undisturbed: Undisturbed, training: Plan) -> None:
    """Row 3: the worker stands still past its lease while its compute process finishes; its epoch cannot publish."""
    rig.start("scheduler", "cpu", "w0", "w1")
    rig.wait_for_step(training, 0, STEP)
    busy, idle = at_work(rig, training)
    frozen = rig.family(busy, compute=False)
    for process in frozen:
        process.suspend()
    rig.wait(lambda: len(history(rig, training)) == 2, 300, "another worker's attempt")
    rig.wait(lambda: len(rig.compute_processes()) == 2, 300, "its compute process")
    newer = rig.family(idle)[-1]
    assert "nonet.compute" in newer.cmdline()
    newer.suspend()
    staged = rig.storage.home.blob(training.adapters[0].key)
    rig.wait(
        lambda: len(list(staged.glob("*/losses.json"))) == 1, 300, "a finished adapter in the stale worker's hands"
    )
    for process in frozen:
        process.resume()
    rig.wait(lambda: "all: lost" in rig.log_of(busy), 300, "the stale worker's receipt")
    assert not rig.storage.has(ADAPTERS, training.adapters[0].key), "a stale epoch published"
    newer.resume()
    rig.wait_for_phase(training, Phase.COMPLETE)
    commit = rig.storage.read(ADAPTERS, training.adapters[0].key)
    assert commit is not None
    assert commit.epoch == 2
    assert [a.outcome for a in history(rig, training)] == [Outcome.LOST, Outcome.COMMITTED]
    finished(rig, training, undisturbed, 1)


def test_drain_in_training(rig: Rig, undisturbed: Undisturbed, training: Plan) -> None:
    """Row 4: SIGTERM checkpoints, gives the work back and exits within its deadline; nothing is lost or blamed."""
    rig.start("scheduler", "cpu", "w0")
    rig.wait_for_step(training, 0, STEP)
    rig.kill("w0", signal.SIGTERM)
    worker = rig.processes.pop("w0")
    assert worker.wait(rig.settings.drain_seconds) == 0
    assert not rig.compute_processes()
    (first,) = history(rig, training)
    assert (first.outcome, first.error_class) == (Outcome.DRAINED, None)
    folders = rig.storage.home.checkpoint(training.adapters[0].key).glob("step-*")
    saved = max(int(f.name.split("-")[1]) for f in folders)
    assert saved >= STEP, "a checkpoint of the very step, not the last regular one"
    rig.start("w1")
    rig.wait_for_phase(training, Phase.COMPLETE)
    assert resumed_from(rig, training) == saved
    finished(rig, training, undisturbed, 1)


def test_hung_compute_process(rig: Rig, undisturbed: Undisturbed, training: Plan) -> None:
    """Row 21: alive but without progress; the progress timeout fires, and the work is tried again."""
    rig.environment["NONET_PROGRESS_TIMEOUT"] = "40"  # a busy machine loads torch for 20 s
    rig.start("scheduler", "cpu", "w0")
    rig.wait_for_step(training, 0, STEP)
    (hung,) = rig.compute_processes()
    hung.suspend()
    rig.wait(lambda: history(rig, training)[0].outcome is not None, 300, "an end of the waiting")
    first = history(rig, training)[0]
    assert (first.outcome, first.error_class) == (Outcome.FAILED, ErrorClass.TIMEOUT)
    assert "no sign of progress" in (first.error or "")
    psutil.wait_procs([hung], 5)
    assert not hung.is_running(), "it is killed, though it cannot answer any more"
    rig.wait_for_phase(training, Phase.COMPLETE)
    assert resumed_from(rig, training) >= 4
    finished(rig, training, undisturbed, 1)


def test_cancel_without_a_worker_and_in_training(rig: Rig, undisturbed: Undisturbed, training: Plan) -> None:
    """Row 22: never starts; stops within seconds; what was made stays, and a later submit goes on from there."""
    rig.start("scheduler")
    rig.wait(lambda: rig.client.llen("train") == 1, 300, "a message that waits")
    rig.nonet("cancel", training.run)
    rig.start("cpu", "w0")
    rig.wait(lambda: rig.client.llen("train") == 0, 300, "the message is taken")
    rig.wait(lambda: "cancelled" in rig.log_of("w0"), 300, "the message is refused")
    assert history(rig, training) == ()
    assert rig.state(training).phase is Phase.CANCELLED
    rig.nonet("submit", str(undisturbed.batch))
    rig.wait_for_step(training, 0, STEP)
    rig.nonet("cancel", training.run)
    stopped = rig.wait(lambda: history(rig, training)[0].outcome is Outcome.CANCELLED, 300, "a cancelled attempt")
    assert stopped < 10
    rig.wait(lambda: not rig.compute_processes(), 10, "no compute process")
    assert rig.storage.has(ADAPTERS, training.adapters[1].key), "artifacts are kept"
    assert list(rig.storage.home.checkpoint(training.adapters[0].key).glob("step-*")), "and checkpoints"
    check_promises(rig, training, expected=None, extra_executions=0)
    rig.nonet("rerun", training.run)
    rig.wait_for_phase(training, Phase.COMPLETE)
    assert resumed_from(rig, training) >= 4
    finished(rig, training, undisturbed, 1)


def history(rig: Rig, plan: Plan) -> tuple[Attempt, ...]:
    """Attempts at the first adapter."""
    return rig.attempts.history(plan.adapters[0].key)


def at_work(rig: Rig, plan: Plan) -> tuple[str, str]:
    """Of w0 and w1, the worker that trains the first adapter, and the other one."""
    busy = history(rig, plan)[-1].worker.partition("@")[0]
    return busy, "w1" if busy == "w0" else "w0"


def resumed_from(rig: Rig, plan: Plan) -> int:
    """The step from which the committed training of the first adapter went on, 0 when from the start."""
    commit = rig.storage.read(ADAPTERS, plan.adapters[0].key)
    assert commit is not None
    return int(commit.body["training"]["resumed_from"] or 0)


def finished(rig: Rig, plan: Plan, undisturbed: Undisturbed, extra: int) -> None:
    """The run is complete, with the undisturbed run's adapters and submission."""
    assert rig.adapter_digests(plan) == undisturbed.adapters
    check_promises(rig, plan, expected=undisturbed.submission, extra_executions=extra)
