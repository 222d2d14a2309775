"""The commands of README and of every page of docs/ run as they stand: each line after `$ ` in their console blocks, on
the demo's home. What cannot be run here is read by the command's parser: tests/unit/test_pages.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import ROOT, Demo
from tests.page_commands import CHINESE, LAST, pages, run_commands

pytestmark = pytest.mark.timeout(1200)


def test_there_are_commands() -> None:
    assert len(run_commands("README.md")) >= 10
    assert len(run_commands(LAST)) >= 10


@pytest.fixture
def fleet(demo: Demo) -> Iterator[None]:
    """`nonet up` on the demo's home, for the commands that look at a fleet."""
    environment = os.environ | {"NONET_HOME": str(demo.home), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "cli", "up", "--no-flower"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        for line in up.stdout:
            if "Ctrl-C" in line:
                break
        yield
        up.send_signal(signal.SIGINT)


@pytest.mark.usefixtures("fleet")
def test_every_command_runs(demo: Demo) -> None:
    """Page by page; pages in Chinese show the same commands (tests/unit/test_pages.py), which run once."""
    (ROOT / "build" / "demo.tar").unlink(missing_ok=True)  # of an earlier run of these tests, which is not replaced
    for command in (found for page in pages() if page not in CHINESE for found in run_commands(page)):
        program, *arguments = command.words
        assert program == "nonet"
        done = demo.nonet(*arguments)
        told = f"{command.page}: $ {command.text} → {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, told
        assert "Traceback" not in done.stderr, told
        assert done.stdout.strip(), told
