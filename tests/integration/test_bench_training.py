"""bench/training.py runs as it is written, on a small shape: what it prints, and that the arms called equal are."""

from __future__ import annotations

import os
import re
import subprocess

from tests.integration.compute_rig import ROOT, stack_python

ARMS = ("O joint, g", "equal", "tree")


def test_arms_are_told_and_equal() -> None:
    sizes = [
        "--shape",
        "tiny",
        "--adapters",
        "2",
        "--questions",
        "2",
        "--steps",
        "2",
        "--points",
        "1",
        "2",
        "--fit",
        "4",
    ]
    done = subprocess.run(
        [stack_python("cpu"), "-m", "bench.training", "--device", "cpu", *sizes, "--only", *ARMS],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"^matrix peak 0\.\d+ TFLOP/s$", done.stdout, re.MULTILINE)
    for arm in ("O joint, grouped", "tree scoring"):
        assert re.search(rf"^{arm} +-?\d+\.\d+ s .*% of peak", done.stdout, re.MULTILINE), done.stdout
    gradients = re.findall(r"^equal: .* gradient (\S+) apart", done.stdout, re.MULTILINE)
    assert len(gradients) == 2
    assert all(float(gradient) < 1e-5 for gradient in gradients), "float32 rounds at 1e-7, some layers in a row"
    assert "failed" not in done.stdout
