"""Two versions of the code in one fleet: each works on its own runs, under other keys; votes never mix."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.faults.paced import PacedRig, Reference, World
from tests.promises import check_promises
from tests.rig import ROOT

PACKAGES = ("nonet", "config", "tasks", "workers", "scheduler", "cli")


def test_two_code_versions_in_one_fleet(paced: PacedRig, reference: Reference, tmp_path: Path) -> None:
    """Row 24: a worker with a newer schema refuses an older plan in a sentence; its own plan has other keys."""
    newer = World(code=newer_code(tmp_path / "newer"))
    paced.worlds |= {"all-newer": newer, "scheduler-newer": newer}
    paced.start("redis", "scheduler", "all-newer")
    plan = paced.submit(reference.batch)
    told = f"refused work of run {plan.run}: it was planned with schema 1, this Nonet has schema 2"
    paced.wait_for_log("all-newer", told)
    paced.start("all-older")
    paced.finish(plan)
    makers = {maker for who in paced.committers(plan).values() for maker in who}
    assert makers == {f"all-older@{paced.settings.host}"}, "the newer worker made nothing of the older run"
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)

    submit(paced, newer, reference.batch)
    (other,) = {path.name for path in paced.storage.home.runs.iterdir()} - {plan.run}
    paced.wait_for_log("scheduler", f"{other}/plan.json cannot be read .*planned with schema 2")
    paced.start("scheduler-newer")
    made = paced.storage.home.submission(other, plan.submission)
    paced.wait(made.exists, 300, "the newer run")
    assert made.read_bytes() == reference.submission, "each version comes to the undisturbed end on its own keys"
    raw = json.loads(paced.storage.home.plan(other).read_bytes())
    assert {a["key"] for a in raw["adapters"]}.isdisjoint(a.key for a in plan.adapters), "another version, other keys"
    assert paced.log_of("scheduler").count("cannot be read") == 1, "said once, not at every tick"
    attempts = [a for adapter in raw["adapters"] for a in paced.attempts.history(adapter["key"])]
    assert [a.worker.split("@")[0] for a in attempts] == ["all-newer"] * len(raw["adapters"]), "each trained once"
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


def newer_code(folder: Path) -> Path:
    """This checkout's code with the next schema."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    source = folder / "nonet" / "stores" / "key.py"
    text, count = re.subn(r"^SCHEMA = 1$", "SCHEMA = 2", source.read_text(), flags=re.MULTILINE)
    assert count == 1
    source.write_text(text)
    return folder


def submit(rig: PacedRig, world: World, batch: Path) -> None:
    """Submit with the code of `world`."""
    environment = os.environ | rig.environment | {"PYTHONPATH": str(world.code)}
    command = [sys.executable, "-m", "cli", "submit", str(batch)]
    subprocess.run(command, cwd=world.code, env=environment, check=True, capture_output=True, timeout=60)
