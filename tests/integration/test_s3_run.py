"""The real model over an S3-compatible store: two machines with nothing in common but objects and Redis, one killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nonet.adapters.checkpoint import MANIFEST, TENSORS
from nonet.runs.plan import ADAPTERS
from scheduler.state import Phase
from tests.promises import check_promises
from tests.rig import Rig
from tests.s3_rig import look_through_s3, s3_settings
from tests.s3_server import CREDENTIALS, S3Server
from tests.undisturbed import Undisturbed


def test_killed_in_training_on_one_machine_finished_on_another(
    tmp_path: Path, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same adapters and the same submission as on a POSIX folder, to the byte."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "run"
    with S3Server(tmp_path / "server") as server, Rig(root, **s3_settings(root, server)) as rig:
        look_through_s3(rig)
        rig.start_all(workers=1)
        plan = rig.submit(undisturbed.batch)
        first = plan.adapters[0].key
        rig.wait(lambda: checkpointed(rig, first), 300, "a checkpoint on S3")
        rig.kill("w0")
        assert not rig.storage.has(ADAPTERS, first), "it was killed in the middle"
        rig.environment["NONET_REDIS_URL"] = (rig.fleet / "redis.url").read_text("utf-8").strip()
        rig.environment["NONET_CACHE"] = str(tmp_path / "another-machine")
        rig.start("w1")
        rig.wait_for_phase(plan, Phase.COMPLETE)
        assert rig.adapter_digests(plan) == undisturbed.adapters
        commit = rig.storage.read(ADAPTERS, first)
        assert commit is not None
        assert commit.body["training"]["resumed_from"], "from the checkpoint that the other machine wrote"
        check_promises(rig, plan, expected=undisturbed.submission, extra_executions=1)


def checkpointed(rig: Rig, key: str) -> bool:
    """Whether a whole checkpoint of the training `key` is on S3: its files get there one by one."""
    folder, store = rig.storage.home.checkpoint(key), rig.storage.store
    return any(all(store.exists(folder / step / file) for file in (MANIFEST, TENSORS)) for step in store.names(folder))
