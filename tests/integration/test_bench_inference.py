"""bench.inference runs as its documentation says, on a small scale: no figure of it is a promise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.integration.compute_rig import ROOT


def test_the_quick_bench_times_both_arms_and_keeps_its_timings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.inference", "--quick", "--save", str(tmp_path / "timings.jsonl")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"base tiny: 2\.2 M parameters, output layer \d+\.\d% of them", done.stdout)
    assert re.search(r"^\| 3 \| 2 \| \d+\.\d\d \|$", done.stdout, re.M), done.stdout
    timings = [json.loads(line) for line in (tmp_path / "timings.jsonl").read_text("utf-8").splitlines()]
    assert {(t["arm"], t["members"]) for t in timings} == {("N", 1), ("N", 2), ("O2", 1), ("O2", 2)}
    for of_one, of_two in (timings[:2], timings[2:]):
        assert 0 < of_one["seconds"] < of_two["seconds"], "time goes on from member to member"
        assert of_two["flop"] == 2 * of_one["flop"]
        assert 0 < of_two["flop"] / of_two["seconds"] < of_two["peak"], "nobody computes faster than the matrix peak"
        assert of_two["memory"] > 100_000_000
