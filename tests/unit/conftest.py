"""Fixtures that several files of unit tests share: a finished run, its pack, and a home that imports adapters."""

from __future__ import annotations

from pathlib import Path

import pytest

from nonet.runs.plan import Plan
from tests.cli_home import CliHome, write_adapter, write_files
from tests.unit.packs import BATCH


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[CliHome, Plan]:
    """A finished run, not to be changed."""
    folder = tmp_path_factory.mktemp("exporting")
    here = CliHome(folder, write_files(folder))
    plan = here.finish({"both": "A", "gold": "A", "more": "B"})
    assert here.call("score", plan.run, str(folder / "gold.jsonl")).exit_code == 0
    return here, plan


@pytest.fixture(scope="session")
def pack(packed: tuple[CliHome, Plan]) -> Path:
    here, _ = packed
    path = here.folder / "pack.tar"
    assert here.call("export", "--to", str(path)).exit_code == 0
    return path


@pytest.fixture
def there(tmp_path: Path) -> CliHome:
    """Another home, with a batch file that imports the folder `theirs`."""
    write_files(tmp_path)
    (tmp_path / "theirs").mkdir()
    write_adapter(tmp_path / "theirs")
    (tmp_path / "guests.yaml").write_text(BATCH)
    return CliHome(tmp_path, tmp_path / "guests.yaml")
