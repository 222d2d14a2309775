"""Fixtures of tests with a fleet: a rig for each, and the undisturbed run that disturbed ones are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scheduler.state import Phase
from tests.rig import Rig
from tests.small_batch import write_batch


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
    root = tmp_path_factory.mktemp("undisturbed")
    batch = write_batch(root / "batch", rows=8)
    with Rig(root) as rig:
        rig.start_all(workers=1)
        plan = rig.submit(batch)
        rig.wait_for_phase(plan, Phase.COMPLETE)
        executions = sum(len(h) for h in rig.executions(plan).values())
        return Undisturbed(batch, rig.home, rig.submission(plan), rig.adapter_digests(plan), executions)
