"""Clocks that disagree by hours: leases, epochs and results do not follow them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from nonet.runs.plan import Plan
from tests.faults.paced import PacedRig, Reference, World
from tests.promises import check_promises
from tests.rig import LEASE_SECONDS

HOURS = 2


@pytest.mark.parametrize("sign", ["+", "-"])
def test_worker_whose_clock_is_two_hours_off(
    paced: PacedRig, reference: Reference, skewed_clock: Path, sign: str
) -> None:
    """Row 13: its leases hold through a training of two lease lives, its epochs count on, its commits are as good."""
    skew = int(f"{sign}{HOURS}") * 3600
    paced.worlds["all0"] = World({"LD_PRELOAD": str(skewed_clock), "CLOCK_SKEW": str(skew)})
    paced.start("redis", "scheduler", "all0")
    with paced.held("training"):
        plan = paced.submit(reference.batch)
        paced.wait_for_work(plan)
        paced.start("all1")
        paced.wait_for_work(plan, units=2)
        time.sleep(LEASE_SECONDS * 2)
        assert len(paced.open_attempts(plan)) == 2
    paced.finish(plan)
    off = {worker: started - time.time() for worker, started in starts(paced, plan)}
    assert abs(off["all0"] - skew) < 300, "the fault happened"
    assert abs(off["all1"]) < 300
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


def starts(rig: PacedRig, plan: Plan) -> list[tuple[str, float]]:
    """Worker and start, on its clock, of every training."""
    attempts = [a for adapter in plan.adapters for a in rig.attempts.history(adapter.key)]
    return [(a.worker.split("@")[0], a.started) for a in attempts]


@pytest.fixture(scope="module")
def skewed_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """skewed_clock.c, compiled."""
    library = tmp_path_factory.mktemp("clock") / "skewed_clock.so"
    source = Path(__file__).with_name("skewed_clock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(source)], check=True)
    return library
