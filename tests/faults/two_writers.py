"""Two processes write checkpoints of one training: a stale one that woke up, and the one that took over.

Run with the Python of a stack, which has torch: `python -m tests.faults.two_writers FOLDER`; ends with an
AssertionError where the newer one is harmed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch

from nonet.adapters.checkpoint import KEPT, Checkpoint, latest_checkpoint, remove_leftovers, write_checkpoint

IDENTITY = "the same training"
STEPS = 60


def at(step: int) -> Checkpoint:
    return Checkpoint(step, {"w": torch.full((64, 64), float(step))}, ((step, 1.0, 0.1),))


def write_stale(folder: Path) -> None:
    """For ever: removes leftovers and writes older, equal and newer steps."""
    while True:
        for step in range(1, STEPS, 3):
            remove_leftovers(folder)
            write_checkpoint(folder, IDENTITY, at(step))
            time.sleep(0.01)


def write_newer(folder: Path) -> None:
    """Every write succeeds, and at no moment is there none, or a torn one."""
    for step in range(1, STEPS):
        write_checkpoint(folder, IDENTITY, at(step))
        found = latest_checkpoint(folder, IDENTITY)
        assert found is not None, "a moment without any checkpoint"
        assert float(found.tensors["w"][0, 0]) == found.step, "torn"
        time.sleep(0.005)


def main(folder: Path) -> None:
    stale = os.fork()
    if stale == 0:
        write_stale(folder)
    try:
        write_newer(folder)
        assert os.waitpid(stale, os.WNOHANG) == (0, 0), "the stale process ended early"
    finally:
        os.kill(stale, signal.SIGKILL)
        os.waitpid(stale, 0)
    remove_leftovers(folder)
    write_checkpoint(folder, IDENTITY, at(STEPS))
    found = latest_checkpoint(folder, IDENTITY)
    assert found is not None
    assert found.step == STEPS, found.step
    assert len(list(folder.iterdir())) <= KEPT, list(folder.iterdir())
    print(f"{STEPS} checkpoints")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
