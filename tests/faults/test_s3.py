"""A home on an S3-compatible object store: the same guarantees as on a POSIX folder, over HTTP to a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.queues import Queue
from nonet.plan import ADAPTERS
from tests.faults.paced import PacedRig, Reference
from tests.faults.proxy import Proxy
from tests.rig import LEASE_SECONDS
from tests.s3_rig import look_through_s3, s3_settings
from tests.s3_server import CREDENTIALS, S3Server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with S3Server(tmp_path / "server") as server:
        yield server


def test_object_store_away_in_a_training(tmp_path: Path, server: S3Server, reference: Reference) -> None:
    """Row 15: nobody reaches it for longer than a lease. Nothing claims a success; all goes on when it is back."""
    with Proxy(server.port) as proxy, PacedRig(tmp_path / "run", **s3_settings(tmp_path / "run", server)) as rig:
        look_through_s3(rig)
        rig.environment["NONET_S3_ENDPOINT"] = f"http://127.0.0.1:{proxy.port}"
        rig.start("redis", "scheduler", "all0")
        with rig.held("training"):
            plan = rig.submit(reference.batch)
            rig.wait_for_work(plan)
            proxy.refuse()
        rig.wait_for_log("all0", "waiting, storage is not well")
        rig.wait_for_log("scheduler", "paused, storage is not well")
        time.sleep(LEASE_SECONDS)
        assert not rig.storage.committed(ADAPTERS)
        assert rig.nonet("status", plan.run, check=False).returncode == 9
        proxy.serve()
        rig.finish(plan)
        assert rig.submission(plan) == reference.submission
        assert rig.adapter_digests(plan) == reference.adapters
        assert all(len(rig.attempts.history(a.key)) == 1 for a in plan.adapters), "what was computed was kept"
        assert rig.client.llen(Queue.TRAIN.value) == 0
