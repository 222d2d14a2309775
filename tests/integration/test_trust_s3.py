"""Verify, explain and export on an object store, over HTTP: from another machine, and past its copies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from click.testing import Result

from cli.exit_codes import ExitCode
from nonet.runs.plan import ADAPTERS, plan_from_json
from nonet.stores.address import home_at
from nonet.stores.home import Home
from tests.cli_home import CliHome, write_files
from tests.s3_server import BUCKET, CREDENTIALS, S3Server

ADDRESS = f"s3://{BUCKET}/trust"


@dataclass
class S3Home(CliHome):
    """The command on a home in a bucket, on the machine that `cache` is of."""

    server: S3Server
    cache: Path

    @cached_property
    def home(self) -> Home:  # one client for all of it
        return home_at(ADDRESS, cache=self.cache, endpoint=self.server.endpoint)

    def call(self, *arguments: str) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NONET_CACHE", str(self.cache))
            patch.setenv("NONET_S3_ENDPOINT", self.server.endpoint)
            return self.called(ADDRESS, *arguments)


def test_a_run_in_a_bucket_is_verified_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    batch = write_files(tmp_path)
    with S3Server(tmp_path / "server") as server:
        here = S3Home(tmp_path, batch, server, tmp_path / "one")
        assert here.call("submit", str(batch)).exit_code == 0
        (path,) = here.storage.plans()
        plan = plan_from_json(here.storage.store.read(path))
        here.train(plan)
        here.answer(plan, {"both": "A", "gold": "A", "more": "B"})
        here.vote(plan)
        there = S3Home(tmp_path, batch, server, tmp_path / "two")
        assert there.call("verify").exit_code == 0
        assert "most votes: A 2, B 1" in there.call("explain", plan.run, "t0#0").stdout
        assert there.call("export", "--to", str(tmp_path / "pack.tar")).exit_code == 0

        commit = there.storage.record(ADAPTERS, plan.adapters[0].key)
        assert commit is not None
        stored = commit.files["adapter_model.safetensors"]
        server.client().put_object(Bucket=BUCKET, Key=f"trust/{stored.path}", Body=b"x" * stored.size)
        damaged = there.call("verify", "--json")
        assert damaged.exit_code == ExitCode.STORAGE, "although this machine has a sound copy"
        (failed,) = [check for check in json.loads(damaged.stdout)["checks"] if check["outcome"] == "fail"]
        assert (failed["what"], "does not match its checksum" in failed["text"]) == ("adapters", True)
