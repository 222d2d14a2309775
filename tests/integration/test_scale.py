"""A run of thousands of cells: what is done at every look grows with them, not with their square, and over an object
store it is a few listings. A message holds keys and no data.

The limits of time are some thirty times what is measured (docs/performance.md has the figures of a large run).
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from bench.scale import measure
from bench.scale_home import do_part, write_batch
from config.batch import load_batch
from config.queues import INFER_TASK
from nonet.bases.fingerprint import identify_base
from nonet.runs.attempt import Attempts
from nonet.runs.plan import Plan
from nonet.stores.address import home_at
from nonet.stores.storage import Storage
from scheduler.dispatch import dispatch
from scheduler.inflight import UnknownInFlight
from scheduler.plan import draft
from scheduler.reconcile import Message
from scheduler.state import StateReader
from scheduler.submit import submit
from tasks.app import make_app
from tasks.line import Line
from tests.rig import Rig
from tests.s3_server import BUCKET, CREDENTIALS, S3Server

LIMITS = {"plan": 12.0, "status": 30.0, "first": 6.0, "tick": 3.0}
"""Seconds that catch what grows with the square of the cells, on a busy machine; the bars are bench/scale.py's."""
ADAPTERS, SHARDS = 3, 12


def test_looks_at_a_run_of_3000_cells_take_no_time(tmp_path: Path) -> None:
    figures = {figure.name: figure.median for figure in measure(tmp_path, adapters=12, shards=250, repeats=1)}
    assert len(figures) == 10
    slow = {name: seconds for name, seconds in figures.items() if seconds > LIMITS[name.split(" ")[0].rstrip(",")]}
    assert not slow


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with S3Server(tmp_path / "server") as server:
        yield server


def test_a_look_through_an_object_store_is_a_listing_for_each_adapter(tmp_path: Path, server: S3Server) -> None:
    endpoint = server.environment["NONET_S3_ENDPOINT"]
    storage = Storage(home_at(f"s3://{BUCKET}/scale", cache=tmp_path / "cache", endpoint=endpoint))
    plan = _submitted(storage, write_batch(tmp_path / "batch", ADAPTERS, SHARDS))
    requests: Counter[str] = Counter()
    _count(storage, requests)
    reader = StateReader(storage, Attempts(storage.home), UnknownInFlight(), 3)

    def asked() -> Counter[str]:
        requests.clear()
        reader.read(plan)
        return Counter(requests)

    listed = 1 + ADAPTERS  # adapters, and each one's ballots
    assert asked() == {"ListObjectsV2": listed + 1, "HeadObject": 1}, "attempts, and whether the run is cancelled"
    do_part(storage, plan, 0.0, 0.5)
    assert asked() == {"ListObjectsV2": listed + 1, "HeadObject": 1}
    do_part(storage, plan, 0.5, 1.0)
    assert asked() == {"ListObjectsV2": listed + 1, "HeadObject": 2}, "tries of the vote, and whether there is a result"
    assert asked() == {"ListObjectsV2": listed + 1, "HeadObject": 2}


def _count(storage: Storage, requests: Counter[str]) -> None:
    def on_call(model: Any, **_: Any) -> None:
        requests[model.name] += 1

    storage.store._objects._client.meta.events.register("before-call.s3", on_call)  # type: ignore[attr-defined]


def _submitted(storage: Storage, batch: Path) -> Plan:
    loaded = load_batch(batch)
    models = [identify_base(base.model, base.revision, batch.parent, base.key) for base in loaded.bases]
    found = draft(loaded, models, "transformers")
    submit(storage, found, loaded.text)
    return found.plan


def test_a_message_holds_keys_and_no_data(rig: Rig) -> None:
    rig.start("redis")
    client: redis.Redis = rig.client
    app = make_app(rig.settings.redis())
    line, keys = Line(app), tuple(f"{at:064x}" for at in range(12))
    message = Message(INFER_TASK, "run-1", keys, f"shard=test-000 adapters={', '.join(['mix'] * 12)}", "test-000")
    assert dispatch(app, line, client, message, 5.0)
    line.close()
    (raw,) = client.lrange("infer", 0, -1)
    assert len(raw) < 5000
    arguments, named, _ = json.loads(base64.b64decode(json.loads(raw)["body"]))
    assert (arguments, named) == ([], {"run": "run-1", "keys": list(keys), "shard": "test-000"})
