"""Storage that is full, read-only or gone: a clear error, work paused, nothing damaged, and it resumes by itself."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nonet.runs.attempt import ErrorClass
from nonet.runs.plan import Plan
from tests.faults.mounts import lost, mounted
from tests.faults.paced import PacedRig, Reference, undisturbed_paced
from tests.promises import check_promises

MIB = 2**20
ADAPTER = 6 * MIB
DISK = 40 * MIB
PACE = {"NONET_PACE_BYTES": str(ADAPTER), "NONET_RESERVE": str(MIB)}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The undisturbed run with adapters that a small disk notices."""
    return undisturbed_paced(tmp_path_factory.mktemp("large"), **PACE)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[PacedRig]:
    """A rig whose home is a disk of its own, with room for the run and not much more."""
    with PacedRig(tmp_path, **PACE) as rig:
        rig.home.mkdir()
        with mounted(rig.home, "-t", "tmpfs", "-o", f"size={DISK}", "none"):
            try:
                yield rig
            finally:
                rig.close()


def test_disk_full_in_the_middle_of_a_training(small_disk: PacedRig, large: Reference) -> None:
    """Row 14: not one byte is left. Worker and scheduler say so and wait; nothing is tried before there is room."""
    rig = small_disk
    rig.start("redis", "scheduler", "all0")
    with rig.held("training"):
        plan = rig.submit(large.batch)
        rig.wait_for_work(plan)
        rig.wait_for_step(plan, 0, 1)
        filler = fill(rig.home, leave=0)
    rig.wait_for_log("all0", "waiting, storage is not well: .*No space left on device")
    rig.wait_for_log("scheduler", "paused, storage is not well: .*NONET_RESERVE")
    stand_still(rig, plan)
    status = json.loads(rig.nonet("status", "--json", check=False).stdout)
    assert "NONET_RESERVE" in status["paused"]
    assert not rig.storage.committed("adapters")
    filler.unlink()
    rig.finish(plan)
    check_promises(rig, plan, expected=large.submission, extra_executions=1)
    assert failures(rig, plan) == [ErrorClass.STORAGE], "it says why the one attempt failed"


def test_disk_nearly_full_from_the_start(small_disk: PacedRig, large: Reference) -> None:
    """Row 14: below the reserve nothing is begun at all."""
    rig = small_disk
    filler = fill(rig.home, leave=MIB * 3 // 4)
    rig.start("redis", "scheduler", "all0")
    plan = rig.submit(large.batch)
    rig.wait_for_log("scheduler", "paused, storage is not well: .*NONET_RESERVE")
    stand_still(rig, plan)
    assert begun(rig, plan) == 0
    filler.unlink()
    rig.finish(plan)
    check_promises(rig, plan, expected=large.submission, extra_executions=0)


def test_room_that_is_never_enough_is_not_tried_hot(small_disk: PacedRig, large: Reference) -> None:
    """Row 14: above the reserve, but no adapter fits. Each try fails with its reason, at growing distances."""
    rig = small_disk
    filler = fill(rig.home, leave=ADAPTER // 2)
    rig.start("redis", "scheduler", "all0")
    plan = rig.submit(large.batch)
    rig.wait(lambda: len(failures(rig, plan)) >= 4, 300, "failed tries")
    time.sleep(4)
    tries = len(failures(rig, plan))
    assert tries <= 4 + 2 * len(plan.adapters), f"{tries} tries: that is hot"
    filler.unlink()
    rig.finish(plan)
    assert set(failures(rig, plan)) == {ErrorClass.STORAGE}
    check_promises(rig, plan, expected=large.submission, extra_executions=len(failures(rig, plan)))


@pytest.mark.parametrize("fault", ["read-only", "gone"])
def test_storage_read_only_or_gone(paced: PacedRig, reference: Reference, fault: str) -> None:
    """Row 15: for all processes at once, in the middle of a training. Nothing claims a success, and all goes on."""
    paced.start("redis", "scheduler", "all0")
    with paced.held("training"):
        plan = paced.submit(reference.batch)
        paced.wait_for_work(plan)
        paced.wait_for_step(plan, 0, 1)
        with lost(paced.home, fault):
            (paced.pace / "training.hold").unlink()
            paced.wait_for_log("all0", "waiting, storage is not well|does not reach the storage")
            paced.wait_for_log("scheduler", "paused, storage is not well" if fault == "gone" else "running")
            submitted = paced.nonet("submit", str(reference.batch), check=False)
            assert submitted.returncode != 0, submitted.stdout
            assert "Read-only file system" in submitted.stderr
            assert paced.nonet("status", plan.run, check=False).returncode != 0
            assert not paced.storage.committed("adapters")
    paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=1)


def fill(folder: Path, *, leave: int) -> Path:
    """Fill the disk of `folder` with a file until `leave` bytes are free; returns the file."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        free = DISK
        while free > leave:
            status = os.statvfs(folder)
            free = status.f_bavail * status.f_frsize
            try:
                file.write(b"\0" * min(MIB, max(0, free - leave)))
            except OSError:
                break
    return path


def stand_still(rig: PacedRig, plan: Plan, seconds: float = 3.0) -> None:
    """Nothing is begun for some seconds."""
    before = begun(rig, plan)
    time.sleep(seconds)
    assert begun(rig, plan) == before, "work was tried again while there is no room"


def begun(rig: PacedRig, plan: Plan) -> int:
    return sum(len(rig.attempts.history(a.key)) for a in plan.adapters)


def failures(rig: PacedRig, plan: Plan) -> list[ErrorClass]:
    """Error classes of all attempts at adapters that failed."""
    attempts = [a for adapter in plan.adapters for a in rig.attempts.history(adapter.key)]
    return [a.error_class for a in attempts if a.error_class is not None]
