"""What fault tests run under: more time than others, since each waits for whole runs on real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.paced import PacedRig, Reference, undisturbed_paced
from tests.undisturbed import made_once

HERE = Path(__file__).parent
SECONDS = 1200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test of this folder that names no limit of its own `SECONDS`."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture
def paced(tmp_path: Path) -> Iterator[PacedRig]:
    """A rig with paced compute processes, nothing of it started."""
    with PacedRig(tmp_path) as rig:
        yield rig


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The small batch, undisturbed, with paced compute processes."""
    return made_once(tmp_path_factory, "reference", undisturbed_paced)
