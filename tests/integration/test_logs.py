"""`nonet logs -f` on a run whose attempts begin, die and begin again on different workers while it follows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.paced import PacedRig
from tests.rig import ROOT
from tests.small_batch import write_batch


@pytest.mark.timeout(600)
def test_logs_follow_every_attempt_wherever_it_runs(tmp_path: Path) -> None:
    with PacedRig(tmp_path / "rig") as rig:
        rig.start("redis", "scheduler", "all0")
        with rig.held("training"):
            plan = rig.submit(write_batch(tmp_path / "batch"))
            followed = tmp_path / "followed"
            with followed.open("wb") as out:
                follower = subprocess.Popen(
                    [sys.executable, "-m", "cli", "logs", "-f", "--json"],
                    cwd=ROOT,
                    env=os.environ | rig.environment,
                    stdout=out,
                )
            rig.wait_for_work(plan)
            rig.wait(lambda: '"outcome": null' in followed.read_text(), 60, "the first attempt")
            rig.kill("all0")
            for process in rig.compute_processes():
                process.kill()
            rig.start("all1")
            rig.wait(lambda: "all1@" in followed.read_text(), 90, "the attempt of another worker")
        rig.finish(plan)
        assert follower.wait(60) == 0, "it ends with the run"
        told = [json.loads(line) for line in followed.read_text().splitlines()]
        check(told, plan.run, rig)
        text = rig.nonet("logs").stdout
        lines = [line for line in text.splitlines() if not line.startswith("==")]
        assert lines
        assert all(line.split(" ")[1] == plan.run for line in lines), "every line names its run"
        only = rig.nonet("logs", "latest", "vote").stdout
        assert "vote | vote: committed" in only
        assert "training" not in only


def check(told: list[dict[str, Any]], run: str, rig: PacedRig) -> None:
    """What was followed is all there is: each attempt at its beginning and its end, each line of each log once."""
    attempts = [record for record in told if record["kind"] == "attempt"]
    lines = [record for record in told if record["kind"] == "line"]
    assert {record["run"] for record in told} == {run}
    assert {record["worker"].split("@")[0] for record in attempts} == {"all0", "all1"}
    ended = {(record["key"], record["epoch"]): record["outcome"] for record in attempts}
    assert "lost" in ended.values()
    assert set(ended.values()) <= {"lost", "committed"}
    on_storage = {path: path.read_text().splitlines() for path in sorted((rig.home / "logs").rglob("*.log"))}
    for path, content in on_storage.items():
        log = str(path.relative_to(rig.home))
        followed = [record["text"] for record in lines if record["log"] == log]
        assert followed == [line.split(" | ", 1)[1] for line in content], log
    for record in lines:
        assert record["time"]
        assert all(len(artifact["key"]) == 64 for artifact in record["artifacts"])
