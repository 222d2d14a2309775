"""Checkpoints of one training written by two processes: a stale one that woke up, and the one that took over."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from nonet.checkpoint import KEPT, Checkpoint, latest_checkpoint, remove_leftovers, write_checkpoint
from tests.faults.kills import fork

IDENTITY = "the same training"


def test_stale_process_does_not_harm_the_newer_one(tmp_path: Path) -> None:
    """Row 3: it removes leftovers and writes older, equal and newer steps; every write of the other succeeds."""
    import torch

    def at(step: int) -> Checkpoint:
        return Checkpoint(step, {"w": torch.full((64, 64), float(step))}, ((step, 1.0, 0.1),))

    stale = fork()
    if stale == 0:
        while True:
            for step in range(1, 60, 3):
                remove_leftovers(tmp_path)
                write_checkpoint(tmp_path, IDENTITY, at(step))
                time.sleep(0.01)
    try:
        for step in range(1, 60):
            write_checkpoint(tmp_path, IDENTITY, at(step))
            found = latest_checkpoint(tmp_path, IDENTITY)
            assert found is not None, "a moment without any checkpoint"
            assert float(found.tensors["w"][0, 0]) == found.step, "torn"
            time.sleep(0.005)
    finally:
        os.kill(stale, signal.SIGKILL)
        os.waitpid(stale, 0)
    remove_leftovers(tmp_path)
    write_checkpoint(tmp_path, IDENTITY, at(60))
    found = latest_checkpoint(tmp_path, IDENTITY)
    assert found is not None
    assert found.step == 60
    assert len(list(tmp_path.iterdir())) <= KEPT
