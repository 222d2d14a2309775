"""The script that installs a stack: it never costs a stack that is there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "config" / "stacks" / "install"


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """A stack that is there."""
    folder = tmp_path / "stacks" / "cpu"
    folder.mkdir(parents=True)
    (folder / "held").write_text("what is there")
    return folder


def install(folder: Path, python: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, "cpu", folder, python], capture_output=True, text=True, check=False)


def test_what_cannot_be_completed_leaves_the_stack_that_was_there(stack: Path) -> None:
    assert install(stack, "/bin/false").returncode != 0
    assert (stack / "held").read_text() == "what is there"
    assert list(stack.parent.iterdir()) == [stack]


def test_what_cannot_be_completed_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    assert install(tmp_path / "cpu", "/bin/false").returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_stack_is_refused_and_the_stack_stays(stack: Path, tmp_path: Path) -> None:
    (tmp_path / "cpu").symlink_to(stack)
    done = install(tmp_path / "cpu", "/bin/false")
    assert done.returncode != 0
    assert f"is a link to {stack}" in done.stderr
    assert "set NONET_STACKS" in done.stderr
    assert (stack / "held").exists()
