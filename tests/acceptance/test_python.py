"""docs/python.md runs as it stands: its blocks, one after the other, on the demo's home."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT, Demo

pytestmark = pytest.mark.timeout(1200)


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.S)


def test_every_method_is_shown() -> None:
    from nonet_client import Nonet, Run

    shown = "".join(blocks()) + (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    methods = [name for kind in (Nonet, Run) for name in vars(kind) if not name.startswith("_")]
    assert len(methods) > 20
    assert [name for name in methods if name not in shown] == []


def test_the_session_runs(demo: Demo, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks())],
        cwd=ROOT,
        env=os.environ | {"NONET_HOME": str(demo.home), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for text in ("complete", "the vote", "official-hand", "True ()"):
        assert text in done.stdout
