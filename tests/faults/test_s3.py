"""A home on an S3-compatible object store: the same guarantees as on a POSIX folder, over HTTP to a real server."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nonet.runs.attempt import ErrorClass, Outcome
from nonet.runs.plan import ADAPTERS, Plan
from tests.faults.paced import PacedRig, Reference, World
from tests.faults.proxy import Proxy
from tests.promises import check_promises
from tests.rig import LEASE_SECONDS
from tests.s3_rig import look_through_s3, s3_settings
from tests.s3_server import CREDENTIALS, S3Server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with S3Server(tmp_path / "server") as server:
        yield server


@pytest.fixture
def rig(tmp_path: Path, server: S3Server) -> Iterator[PacedRig]:
    """A rig on S3 whose worker `all1` is on a machine of its own, as far as files go: its cache is another folder."""
    with PacedRig(tmp_path / "run", **s3_settings(tmp_path / "run", server)) as rig:
        look_through_s3(rig)
        rig.worlds["all1"] = World({"NONET_CACHE": str(tmp_path / "cache-of-all1")})
        yield rig


def test_worker_killed_in_training_over_s3(rig: PacedRig, reference: Reference) -> None:
    """Row 2: kill -9 of a worker; one on another machine goes on from its checkpoint; same submission as on POSIX."""
    rig.start("redis", "scheduler", "all0", "all1")
    with rig.held("training"):
        plan = rig.submit(reference.batch)
        adapter = killed_in_training(rig, plan)
    rig.finish(plan)
    assert rig.adapter_digests(plan) == reference.adapters
    first, second = rig.attempts.history(adapter)
    assert (first.outcome, first.error_class) == (Outcome.LOST, ErrorClass.WORKER_LOST)
    assert second.worker != first.worker
    commit = rig.storage.read(ADAPTERS, adapter)
    assert commit is not None
    assert commit.body["training"]["resumed_from"] >= 4, "from the checkpoint that the other machine wrote"
    check_promises(rig, plan, expected=reference.submission, extra_executions=1)
    as_its_user_sees_it(rig, plan, adapter)


def killed_in_training(rig: PacedRig, plan: Plan) -> str:
    """Kill the worker, its children and their compute process that train an adapter with a checkpoint on S3."""
    home, store = rig.storage.home, rig.storage.store

    def checkpointed() -> list[str]:
        return [a.key for a in plan.adapters if store.names(home.checkpoint(a.key))]

    rig.wait(lambda: bool(checkpointed()), 90, "a checkpoint on S3")
    adapter = checkpointed()[0]
    busy = rig.attempts.history(adapter)[-1].worker.partition("@")[0]
    family = rig.family(busy)
    worker = rig.processes.pop(busy)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(30)
    psutil.wait_procs(family, 10)
    assert not rig.storage.has(ADAPTERS, adapter), "it was killed in the middle"
    return adapter


def as_its_user_sees_it(rig: PacedRig, plan: Plan, adapter: str) -> None:
    """The commands, on a machine that took no part: places are addresses, logs of both workers are there."""
    url = rig.environment["NONET_HOME"]
    status = json.loads(rig.nonet("status", "--json").stdout)
    assert status["submission"] == {"path": f"{url}/runs/{plan.run}/submission.jsonl", "exists": True}
    name = next(a.name for a in plan.adapters if a.key == adapter)
    logs = rig.nonet("logs", plan.run, name).stdout
    assert "attempt 1: lost" in logs
    assert "attempt 2: committed" in logs
    assert rig.storage.store.read(rig.storage.home.root / rig.attempts.history(adapter)[0].log)
    voted = rig.nonet("vote", plan.run).stdout
    assert voted.strip().splitlines()[-1].startswith(f"submission: {url}/runs/{plan.run}/votes/")
    doctor = rig.nonet("doctor", check=False).stdout
    assert "creates files exclusively" in doctor
    assert "keeps out whoever was overtaken" in doctor


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
        assert rig.adapter_digests(plan) == reference.adapters
        check_promises(rig, plan, expected=reference.submission, extra_executions=0)
