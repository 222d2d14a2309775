"""The commands of README and of some pages of docs/ run as they stand: each line after `$ ` in their console blocks, on
the demo's home."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import ROOT, Demo

pytestmark = pytest.mark.timeout(1200)
PAGES = ("README.md", "docs/ensemble.md", "docs/results.md", "docs/trust.md")


def console_commands() -> list[str]:
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    blocks = re.findall(r"```console\n(.*?)```", text, re.S)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_there_are_commands() -> None:
    assert len(console_commands()) >= 10


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
    for command in console_commands():
        program, *arguments = shlex.split(command)
        assert program == "nonet"
        done = demo.nonet(*arguments)
        assert done.returncode == 0, f"$ {command} → {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        assert done.stdout.strip(), f"$ {command} printed nothing"


def test_commands_that_stay_exist(demo: Demo) -> None:
    """`nonet up` and the like cannot be run to their end here; tests/unit/test_house.py looks after `make`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        for line in block.splitlines():
            program, name, *_ = shlex.split(line, comments=True)
            assert program == "make" or demo.nonet(name, "--help").returncode == 0, line
