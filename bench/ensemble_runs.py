"""The runs behind `bench.ensemble`: one batch for each seed, run by the product itself on a local fleet.

Knows the demo's batch file and what a seed changes in it; knows no figure.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "config" / "batches" / "demo.yaml"


def seeded(seed: int, permutations: int = 1) -> dict[str, Any]:
    """The demo's batch with other seeds: of the validation split, of the samples and of the trainings; each question
    asked in so many `permutations` of its options.
    """
    batch: dict[str, Any] = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    batch["name"] = f"demo-s{seed}" + (f"-o{permutations}" if permutations > 1 else "")
    batch["inference"]["permutations"] = permutations
    batch["base"]["model"] = str((DEMO.parent / batch["base"]["model"]).resolve())
    for source in (*batch["sources"].values(), batch["inference"]):
        name = "path" if "path" in source else "test"
        source[name] = str((DEMO.parent / source[name]).resolve())
    batch["validation"]["seed"] = seed
    batch["training"]["seed"] = seed
    for mix in batch["mixes"].values():
        if "sample" in mix:
            mix["seed"] = mix["seed"] + 2 * seed
    return batch


def write_batch(folder: Path, batch: dict[str, Any]) -> Path:
    """`batch` as a file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{batch['name']}.yaml"
    path.write_text(yaml.safe_dump(batch, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def run_all(home: Path, batches: Sequence[Path]) -> tuple[str, ...]:
    """Submit every batch and follow it to its end; the names of the runs. What is there already is reused.

    Raises CalledProcessError where a run does not end complete.
    """
    runs = [json.loads(nonet(home, "plan", str(path), "--no-tokens", "--json"))["run"] for path in batches]
    begun = [path for path, run in zip(batches, runs, strict=True) if not _is_complete(home, run)]
    with fleet(home) if begun else nullcontext():
        for path in begun:
            subprocess.run(_command(home, "submit", str(path), "--watch"), cwd=ROOT, check=True)
    return tuple(runs)


def _is_complete(home: Path, run: str) -> bool:
    return (home / "runs" / run).exists() and json.loads(nonet(home, "status", run, "--json"))["phase"] == "complete"


def nonet(home: Path, *arguments: str) -> str:
    """What `nonet` prints; raises CalledProcessError."""
    return subprocess.run(_command(home, *arguments), cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def _command(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli", "--home", str(home), *arguments]


@contextmanager
def fleet(home: Path) -> Iterator[None]:
    """`nonet up` with one computing worker, for the length of a with block."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    command = _command(home, "up", "--workers", "1", "--no-flower")
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        for line in up.stdout:
            if "Ctrl-C" in line:
                break
        try:
            yield
        finally:
            up.send_signal(signal.SIGINT)
            up.wait()
