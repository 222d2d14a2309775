"""Checkpoints of one training written by two processes: a stale one that woke up, and the one that took over."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.rig import ROOT


def test_stale_process_does_not_harm_the_newer_one(tmp_path: Path, stacks: Path) -> None:
    """Row 3: it removes leftovers and writes older, equal and newer steps; every write of the other succeeds."""
    command = [str(stacks / "cpu" / "bin" / "python"), "-m", "tests.faults.two_writers", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "60 checkpoints\n"
