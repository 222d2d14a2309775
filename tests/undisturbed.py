"""Fixtures of tests with a fleet: a rig for each, and the undisturbed run that disturbed ones are compared with."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from scheduler.state import Phase
from tests.rig import Rig
from tests.small_batch import write_batch

T = TypeVar("T")


@dataclass(frozen=True)
class Undisturbed:
    """A run to which nothing happened; `home` still holds all that it made."""

    batch: Path
    home: Path
    submission: bytes
    adapters: dict[str, str]
    executions: int


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        yield rig


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The small batch, run once from its submit to its submission."""
    return made_once(tmp_path_factory, "undisturbed", _run_undisturbed)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], T]) -> T:
    """What `make` makes in a folder of its own, once for all processes of this test session (pytest-xdist)."""
    root = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder, made = root / name, root / f"{name}.made"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            made.write_bytes(pickle.dumps(make(folder)))
        found: T = pickle.loads(made.read_bytes())
    return found


def _run_undisturbed(root: Path) -> Undisturbed:
    batch = write_batch(root / "batch", rows=8)
    with Rig(root) as rig:
        rig.start_all(workers=1)
        plan = rig.submit(batch)
        rig.wait_for_phase(plan, Phase.COMPLETE)
        executions = sum(len(h) for h in rig.executions(plan).values())
        return Undisturbed(batch, rig.home, rig.submission(plan), rig.adapter_digests(plan), executions)
