"""A batch names a stack that not every worker has: who lacks it leaves the work to others, and blames nobody."""

from __future__ import annotations

import shutil
from pathlib import Path

from cli.exit_codes import ExitCode
from tests.faults.paced import PacedRig, World
from tests.small_batch import write_batch


def test_a_worker_without_the_stack_of_a_batch_refuses_and_another_does_the_work(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "batch", rows=4, test_rows=4)
    batch.write_text(batch.read_text("utf-8").replace("training: {", "training: {stack: second, "), "utf-8")
    with PacedRig(tmp_path) as rig:
        both = tmp_path / "both"
        for name in ("cpu", "second"):
            shutil.copytree(rig.settings.stacks / "cpu", both / name)
        rig.worlds["all1"] = World({"NONET_STACKS": str(both)})
        rig.start("redis", "scheduler")
        plan = rig.submit(batch)
        rig.start("all0")
        rig.wait_for_log("all0", f"refused work of run {plan.run}: stack 'second' is not installed")
        seen = rig.nonet("status", plan.run, check=False).stdout
        assert f"refused by all0@{rig.settings.host}: stack 'second' is not installed" in " ".join(seen.split())
        told = rig.nonet("plan", str(batch), "--no-tokens", check=False)
        assert told.returncode == ExitCode.BAD_INPUT
        assert "has no stack second, only cpu" in told.stderr
        assert all(not rig.attempts.history(adapter.key) for adapter in plan.adapters), "no attempt was begun"
        rig.start("all1")
        rig.finish(plan)
        makers = rig.committers(plan)
        assert {m for adapter in plan.adapters for m in makers[adapter.key]} == {f"all1@{rig.settings.host}"}
        assert set(rig.outcomes(plan)) == {"committed"}
