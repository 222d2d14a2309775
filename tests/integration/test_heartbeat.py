"""The heartbeat of a scheduler and of a worker, judged as a container's health check judges it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.rig import ROOT, Rig

LIMIT = 4
"""Seconds; a worker beats every 2 s, a scheduler of a rig every 0.5 s."""


@pytest.mark.parametrize("name", ["scheduler", "cpu"])
def test_beats_while_it_is_well(tmp_path: Path, name: str) -> None:
    file = tmp_path / "heartbeat"

    def healthy() -> bool:
        environment = os.environ | {"NONET_HEARTBEAT_FILE": str(file)}
        return subprocess.run([ROOT / "config" / "healthy", str(LIMIT)], env=environment, check=False).returncode == 0

    assert not healthy(), "no heartbeat yet is no health"
    with Rig(tmp_path, NONET_HEARTBEAT_FILE=str(file)) as rig:
        rig.start("redis", name)
        rig.wait(healthy, 30, f"a heartbeat of {name}")
        rig.kill(name, signal.SIGSTOP)
        rig.wait(lambda: not healthy(), LIMIT + 4, f"a frozen {name} is seen", pause=0.3)
        rig.kill(name, signal.SIGCONT)
        rig.wait(healthy, 20, f"{name} goes on", pause=0.3)
        rig.kill("redis")
        rig.wait(lambda: not healthy(), LIMIT + 20, f"a {name} without Redis is seen", pause=0.3)
