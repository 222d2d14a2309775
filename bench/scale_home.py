"""The home that `bench.scale` looks at: a large run, part of which is done, written by the product's own code.

Only fsync is left out, which makes files survive a power cut and is not what is measured. Rows are the demo's in kind:
a stem and two questions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.ensemble_runs import ROOT
from nonet.questions.rows import dumps
from nonet.runs.attempt import Attempts, ErrorClass, Outcome
from nonet.runs.plan import ADAPTERS, Plan
from nonet.stores.storage import Storage
from nonet.voting.ballot import Ballot

HOST, WORKER = "bench", "gpu0@bench"
ROWS_A_SHARD = 2
QUESTIONS_A_ROW = 2
_STEM = "Seven parcels are loaded in an order. Parcel {0} is before parcel {1}; no two are loaded at once. " * 3
_BATCH = """\
name: scale
base: {{model: {base}, revision: null}}
sources:
  labelled: {{path: labelled.jsonl, labels: gold}}
validation: {{source: labelled, fraction: 0.1, seed: 0}}
mixes:
{mixes}
training: {{rank: 8, max_length: 512}}
inference: {{test: test.jsonl, shard_size: {size}}}
vote: {{method: majority, select: all}}
"""


def write_batch(folder: Path, adapters: int, shards: int) -> Path:
    """A batch file of so many adapters and about so many shards (a few more, of validation), with its rows."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labelled.jsonl").write_bytes(dumps(_row("l", at, answer="A") for at in range(400)))
    (folder / "test.jsonl").write_bytes(dumps(_row("t", at) for at in range(shards * ROWS_A_SHARD)))
    mixes = "\n".join(f"  mix-{at:02d}: {{use: [labelled], sample: 0.5, seed: {at}}}" for at in range(adapters))
    base = ROOT / "models" / "demo-base"
    path = folder / "batch.yaml"
    path.write_text(_BATCH.format(base=base, mixes=mixes, size=ROWS_A_SHARD), encoding="utf-8")
    return path


def _row(kind: str, at: int, answer: str | None = None) -> dict[str, object]:
    asked = {"options": ["first", "third", "fifth", "last"], **({"answer": answer} if answer else {})}
    questions = [{"question": f"Where is parcel {number}?", **asked} for number in range(QUESTIONS_A_ROW)]
    return {"problem": f"{kind}{at}. {_STEM.format(at % 7, at % 5)}", "questions": questions, "id": f"{kind}{at}"}


def do_part(storage: Storage, plan: Plan, begin: float, end: float) -> None:
    """Train all adapters of `plan` and answer the part `begin` to `end` (0 to 1) of its cells, on paper.

    One attempt a unit, and a second one for every hundredth, whose first was lost with its worker.
    """
    attempts = Attempts(storage.home)
    cells = plan.cells[round(begin * len(plan.cells)) : round(end * len(plan.cells))]
    with _unsynced():
        for adapter in plan.adapters if begin == 0.0 < end else ():
            _make(storage, attempts, plan, ADAPTERS, adapter.key, {"training": {"steps": adapter.steps}})
        asked = dict(_questions(plan))
        for at, cell in enumerate(cells):
            if at % 100 == 0:
                _begin(attempts, plan, cell.key)
                attempts.end(cell.key, 1, Outcome.LOST, ErrorClass.WORKER_LOST, "its lease expired")
            ballots = [Ballot(q, "A", (-0.1, -2.5, -3.5, -5.0)).to_json() for q in asked[cell.shard.name]]
            body = {"ballots": ballots, "shard": cell.shard.name, "seconds": 1.25, "peak_memory_bytes": 2**30}
            _make(storage, attempts, plan, cell.scope, cell.key, body)


def _questions(plan: Plan) -> Iterator[tuple[str, list[str]]]:
    for shard in plan.shards:
        yield shard.name, [f"{shard.name}-{at}#0" for at in range(shard.questions)]


def _make(storage: Storage, attempts: Attempts, plan: Plan, scope: str, key: str, body: dict[str, object]) -> None:
    epoch = _begin(attempts, plan, key)
    storage.publish(scope, key, epoch, body=body)
    attempts.end(key, epoch, Outcome.COMMITTED)


def _begin(attempts: Attempts, plan: Plan, key: str) -> int:
    log = attempts.home.log(key, 1)
    attempt = attempts.begin(key, host=HOST, worker=WORKER, run=plan.run, log=log, group=12)
    assert attempt is not None
    return attempt.epoch


@contextmanager
def _unsynced() -> Iterator[None]:
    fsync, os.fsync = os.fsync, lambda fd: None
    try:
        yield
    finally:
        os.fsync = fsync
