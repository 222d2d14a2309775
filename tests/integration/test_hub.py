"""A base given by hub id, fetched by the hubs' own clients in real processes from a hub on loopback: pinned, resumed,
and refused in one sentence where no hub can be reached."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nonet.bases.fingerprint import base_digest
from nonet.runs.plan import plan_from_json
from tests.cli_home import BATCH, write_files
from tests.hub_server import COMMIT, MODEL, HubServer, hub_server

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "model.safetensors"
SIZE = 24 * 2**20
"""Bytes of the weights; Hugging Face's client keeps what it has in pieces of 10 MB."""
NOWHERE = "http://127.0.0.1:9"
"""An address on which nothing listens (the discard port)."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    folder = tmp_path / "served"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # where digests of large files are noted
    write_files(tmp_path)
    shutil.move(tmp_path / "base", folder)
    (folder / WEIGHTS).write_bytes(random.Random(0).randbytes(SIZE))
    with hub_server(folder) as server:
        yield server


def environment(tmp_path: Path, endpoint: str) -> dict[str, str]:
    """Both clients with caches of their own, at `endpoint`."""
    return os.environ | {
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "MODELSCOPE_ENDPOINT": endpoint,
        "MODELSCOPE_CACHE": str(tmp_path / "ms"),
        "MODELSCOPE_HOME": str(tmp_path / "ms-home"),
        "MODELSCOPE_API_MAX_RETRIES": "1",
        "NONET_HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


def nonet(tmp_path: Path, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(tmp_path, endpoint), capture_output=True, text=True, timeout=60
    )


def fetched(done: subprocess.CompletedProcess[str]) -> Path:
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.split("  ")[0])


@pytest.mark.parametrize("client", ["huggingface", "modelscope"])
def test_a_broken_connection_goes_on_where_it_broke(client: str, hub: HubServer, tmp_path: Path) -> None:
    hub.breaks = WEIGHTS
    done = nonet(tmp_path, hub.url, "base", "fetch", MODEL, "--hub", client)
    assert base_digest(fetched(done)) == base_digest(hub.folder)
    first, second = hub.ranges_of(WEIGHTS)
    assert first == ""
    begun = int(second.removeprefix("bytes=").rstrip("-"))
    assert 0 < begun <= SIZE // 2
    if client == "huggingface":
        assert f"revision: {COMMIT}" in done.stdout


def test_a_fetch_that_was_killed_keeps_what_is_whole(hub: HubServer, tmp_path: Path) -> None:
    hub.breaks, hub.stall = WEIGHTS, True
    command = [sys.executable, "-m", "cli", "base", "fetch", MODEL]
    with subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path, hub.url), stderr=subprocess.DEVNULL) as first:
        assert hub.halfway.wait(30)
        while len(list((tmp_path / "hf").rglob("snapshots/*/*"))) < len(hub.files()) - 1:
            assert first.poll() is None
            time.sleep(0.02)
        first.kill()
    hub.released.set()
    offline = nonet(tmp_path, NOWHERE, "base", "fetch", MODEL)
    assert offline.returncode == 3
    assert "the cache has only a part of own/tiny" in offline.stderr
    hub.asked.clear()
    assert base_digest(fetched(nonet(tmp_path, hub.url, "base", "fetch", MODEL))) == base_digest(hub.folder)
    assert {file for file, _ in hub.asked} == {WEIGHTS}


def test_a_plan_names_the_commit_and_holds_without_the_hub(hub: HubServer, tmp_path: Path) -> None:
    batch = tmp_path / "batch.yaml"
    batch.write_text(BATCH.replace("model: ./base", f"model: {MODEL}"), encoding="utf-8")
    done = nonet(tmp_path, hub.url, "submit", str(batch))
    assert done.returncode == 0, done.stderr
    assert f"fetching {MODEL} from Hugging Face" in done.stderr
    (file,) = (tmp_path / "home" / "runs").glob("*/plan.json")
    (base,) = plan_from_json(file.read_bytes()).bases
    assert (base.model.model, base.model.revision) == (MODEL, COMMIT)
    again = nonet(tmp_path, NOWHERE, "submit", str(batch))
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith(f"{file.parent.name}: known already")


def test_where_no_hub_can_be_reached_one_sentence_says_so(tmp_path: Path) -> None:
    """ModelScope's client is left out: it waits seven seconds between its tries."""
    refused = nonet(tmp_path, NOWHERE, "base", "fetch", MODEL)
    assert refused.returncode == 3
    (line,) = refused.stderr.strip().splitlines()
    assert line.startswith(f"nonet: {MODEL} ")
    assert "give the path of a local folder" in line


def test_what_the_hub_does_not_have_is_told(hub: HubServer, tmp_path: Path) -> None:
    assert "has no model own/other" in nonet(tmp_path, hub.url, "base", "fetch", "own/other").stderr
    assert (
        "has no such revision of own/tiny at v9"
        in nonet(tmp_path, hub.url, "base", "fetch", MODEL, "--revision", "v9").stderr
    )
