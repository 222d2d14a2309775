"""Hostile input: batch files, rows, ids, adapters and messages made to hurt. All of it is refused with a reason."""

from __future__ import annotations

import base64
import copy
import gzip
import json
import os
import pickle
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.batch import load_batch
from config.queues import QUEUE_OF, Queue
from nonet.bases.fingerprint import NoBaseError, identify_base
from nonet.questions.defect import DefectsError
from nonet.questions.rows import read_problems
from nonet.runs.attempt import ErrorClass
from nonet.runs.plan import ADAPTERS
from nonet.stores.storage import Published
from scheduler.state import Phase
from tasks.app import make_app
from tests.faults.given import last_shard, submit_given
from tests.faults.paced import PacedRig, Reference
from tests.promises import check_promises
from tests.rig import ROOT, Rig
from tests.small_batch import write_batch
from tests.undisturbed import Undisturbed

NASTY: tuple[object, ...] = (
    *(None, True, -1, 1e308, "", "../../x", "/etc/passwd", "\0", "A" * 70000),
    *([], {}, [[[]]], {"a": {"b": []}}, "٣"),
)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound batch file with its sources beside it."""
    return write_batch(tmp_path_factory.mktemp("hostile"))


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_fuzzed_batch_files(batch: Path, data: st.DataObject) -> None:
    """Row 25: whatever the text, it is a batch or it is refused with defects; nothing else comes out."""
    path = batch.with_name("fuzzed.yaml")
    path.write_bytes(mutated(data, batch.read_bytes()))
    read_or_refused(path)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_fuzzed_rows(batch: Path, data: st.DataObject) -> None:
    """Row 25: bytes changed anywhere, or any field replaced by any JSON; defects carry place, value and remedy."""
    path = batch.with_name("fuzzed.jsonl")
    lines = batch.with_name("official.jsonl").read_bytes().splitlines(keepends=True)[:3]
    if data.draw(st.booleans()):
        path.write_bytes(mutated(data, b"".join(lines)))
    else:
        row = json.loads(lines[0])
        places = list(walk(row))
        *way, last = data.draw(st.sampled_from(places))
        holder = row
        for step in way:
            holder = holder[step]
        holder[last] = data.draw(st.sampled_from(NASTY))
        path.write_text(json.dumps(row))
    problems, defects = read_problems(path, labelled=True)
    assert problems or defects
    assert all(defect.place and defect.message and defect.remedy for defect in defects)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: small", "name: ../../x"),
        ("name: small", "name: /x"),
        ("submission: submission.jsonl", "submission: ../../x.jsonl"),
        ("  all: {use", "  ../../x: {use"),
        ("official.jsonl", "/dev/zero"),
        ("official.jsonl", "pipe"),
        ("base: {model: ", "base: {model: ../../../../../../proc/self/root, was: "),
        ("name: small", "name: !!python/object/apply:os.system ['touch x']"),
        (
            "name: small",
            "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nname: *c",
        ),
    ],
)
def test_batch_files_made_to_hurt(paced: PacedRig, batch: Path, old: str, new: str) -> None:
    """Row 25: paths that climb, devices, pipes, tags that execute, aliases that explode: `nonet submit` refuses."""
    folder = paced.home.parent / "batch"
    shutil.copytree(batch.parent, folder)
    os.mkfifo(folder / "pipe")
    path = folder / "batch.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    before = everything(paced.home.parent)
    done = paced.nonet("submit", str(path), check=False)
    assert done.returncode not in (0, 1), f"{done.stdout}{done.stderr}"
    assert "batch.yaml" in done.stderr or "nonet:" in done.stderr
    assert "defect of Nonet" not in done.stderr
    assert everything(paced.home.parent) == before, "nothing was made"


@pytest.mark.parametrize("identifier", ["../../x", "/x", "a/../b", ".hidden", "a\\b", "a\0b", "x" * 5000, "#1"])
def test_ids_made_to_hurt(tmp_path: Path, identifier: str) -> None:
    """Row 25: an id is never a path; the defect says what an id may be."""
    path = tmp_path / "rows.jsonl"
    row = {"id": identifier, "problem": "p", "questions": [{"question": "q", "options": ["a", "b"], "answer": "A"}]}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    problems, defects = read_problems(path, labelled=True)
    assert not problems
    assert defects[0].remedy


def test_stem_of_ten_megabytes(tmp_path: Path) -> None:
    """Row 25: refused for its length, in a defect of a few lines."""
    path = tmp_path / "rows.jsonl"
    question = {"question": "q", "options": ["a", "b"], "answer": "A"}
    path.write_text(json.dumps({"id": "x", "problem": "s" * 10_000_000, "questions": [question]}) + "\n")
    problems, (defect,) = read_problems(path, labelled=True)
    assert not problems
    assert "10000000 characters" in defect.message
    assert len(str(defect)) < 1000, "the defect does not repeat the stem"


def test_stem_of_ten_megabytes_is_not_queued(paced: PacedRig, tmp_path: Path) -> None:
    """Row 25: `nonet submit` says which row and why, in a few lines, and makes nothing."""
    path = write_batch(tmp_path / "batch", rows=8)
    rows = path.with_name("official.jsonl")
    first, _, rest = rows.read_bytes().partition(b"\n")
    row = json.loads(first) | {"problem": "s" * 10_000_000}
    rows.write_bytes(json.dumps(row).encode() + b"\n" + rest)
    done = paced.nonet("submit", str(path), check=False)
    assert done.returncode not in (0, 1)
    assert "official.jsonl" in done.stderr
    assert "line 1, problem" in done.stderr
    assert "10000000 characters" in done.stderr
    assert len(done.stderr) < 2000
    assert not paced.home.exists() or not list(paced.home.iterdir())


def test_adapter_folder_of_pickles(tmp_path: Path, stacks: Path) -> None:
    """Row 25: a folder with pickles where weights belong, under either name, read as the compute process reads it."""
    canary = tmp_path / "canary"
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        (tmp_path / name).write_bytes(pickle.dumps(_Touch(canary)))
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"]}')
    code = f"from nonet.engines.adapter_files import read_adapter; read_adapter({str(tmp_path)!r}, {{}})"
    command = [str(stacks / "cpu" / "bin" / "python"), "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert "DamagedAdapterError" in done.stderr
    assert "train the adapter again" in done.stderr
    assert not canary.exists(), "no pickle was loaded"


def test_worker_survives_an_adapter_of_pickles(rig: Rig, undisturbed: Undisturbed) -> None:
    """Row 25: somebody who may write to the storage puts pickles there, with a commit that is in order.

    The cell that needs them fails with the reason; the same worker answers the rest of its group.
    """
    canary = rig.home.parent / "canary"
    rig.start("redis")
    plan = submit_given(rig, undisturbed, last_shard)
    adapter, storage = plan.adapters[0], rig.storage
    commit = storage.read(ADAPTERS, adapter.key)
    assert commit is not None
    folder = storage.staging(adapter.key, commit.epoch)
    for name in commit.files:
        (folder / name).write_bytes(storage.path(commit.files[name]).read_bytes())
    (folder / "adapter_model.safetensors").write_bytes(pickle.dumps(_Touch(canary)))
    (storage.home.commits(ADAPTERS) / f"{adapter.key}.json").unlink()
    assert storage.publish(ADAPTERS, adapter.key, commit.epoch, folder=folder, body=commit.body) is Published.COMMITTED
    rig.start("scheduler", "cpu", "w0")
    worker = rig.processes["w0"]
    rig.wait_for_phase(plan, Phase.BLOCKED)
    (failed,) = rig.state(plan).failed
    assert failed.name == f"{adapter.name}/{plan.shards[-1].name}"
    assert failed.last is not None
    assert failed.last.error_class is ErrorClass.BAD_INPUT
    assert "train the adapter again" in (failed.last.error or "")
    assert not canary.exists(), "no pickle was loaded"
    assert worker.poll() is None
    check_promises(rig, plan, expected=None, extra_executions=0)


def test_base_of_pickles(tmp_path: Path) -> None:
    """Row 25: a base whose weights are a pickle is refused before anything is queued."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(_Touch(tmp_path / "canary")))
    with pytest.raises(NoBaseError, match=r"pytorch_model.bin is not read, convert it to safetensors"):
        identify_base(str(tmp_path), None, tmp_path)
    assert not (tmp_path / "canary").exists()


def test_hostile_messages(paced: PacedRig, reference: Reference) -> None:
    """Row 25: hundreds of messages, broken in every way, in all queues. The worker survives and then does its work."""
    canary = paced.home.parent / "canary"
    paced.storage.home.runs.mkdir(parents=True)
    paced.start("redis")
    honest = honest_message(paced)
    hostile = list(broken(honest, canary, random.Random(25)))
    assert len(hostile) > 300
    for at, message in enumerate(hostile):
        paced.client.lpush(list(Queue)[at % len(Queue)].value, message)
    paced.start("scheduler", "all0")
    worker = paced.processes["all0"]
    queues = [queue.value for queue in Queue]
    paced.wait(lambda: not any(paced.client.llen(q) for q in queues), 300, "empty queues")
    assert worker.poll() is None, paced.tails()
    paced.client.set(Queue.CPU.value, "a queue that is no list")
    paced.wait_for_log("all0", "WRONGTYPE")
    paced.client.delete(Queue.CPU.value)
    plan = paced.submit(reference.batch)
    paced.finish(plan)
    assert worker.poll() is None
    assert not canary.exists(), "no pickle was loaded"
    assert everything(paced.home.parent, "*") == {"home", "logs", "pace", "redis", "stacks"}, "nothing beside the home"
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


def honest_message(rig: PacedRig) -> dict[str, Any]:
    """A message as a scheduler sends it, for a run that is none."""
    app = make_app(rig.url)
    task = next(iter(QUEUE_OF))
    app.send_task(task, kwargs={"run": "none", "keys": ["a" * 64]}, queue=QUEUE_OF[task].value)
    sent = rig.client.rpop(QUEUE_OF[task].value)
    assert isinstance(sent, bytes)
    message: dict[str, Any] = json.loads(sent)
    app.close()
    return message


def broken(honest: dict[str, Any], canary: Path, chance: random.Random) -> Iterator[bytes]:
    """`honest`, broken: bytes, fields, bodies, encodings, pickles, compression."""
    text = json.dumps(honest).encode()
    yield from (b"", b"\0", b"\xff\xfe", b"null", b"[]", b"{}", b"1", b'"x"', b"[" * 100_000, text[: len(text) // 2])
    for _ in range(120):
        changed = bytearray(text)
        for _ in range(chance.choice((1, 3, 30))):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        yield bytes(changed)
    for place in walk(honest):
        for value in chance.sample(NASTY, 4):
            yield json.dumps(put(honest, place, value)).encode()
    body = json.loads(base64.b64decode(honest["body"]))
    for place in [(0,), (1,), (2,), *walk(body)]:
        for value in chance.sample(NASTY, 4):
            yield with_body(honest, json.dumps(put(body, place, value)).encode())
    bomb = pickle.dumps(_Touch(canary))
    for kind in ("application/x-python-serialize", "pickle", "application/json", "application/x-yaml", "text/plain"):
        yield with_body(honest, bomb, kind)
    yield with_body(honest, b"[" * 1_000_000)
    yield with_body(honest, json.dumps([[], {"run": "x" * 10_000_000, "keys": []}, {}]).encode())
    yield json.dumps(put(honest, ("headers", "compression"), "gzip")).encode()
    yield with_body(put(honest, ("headers", "compression"), "application/x-gzip"), gzip.compress(b"0" * 10_000_000))
    for task in ("celery.chord_unlock", "celery.chain", "celery.group", "celery.accumulate", "os.system", "nonet.none"):
        yield json.dumps(put(honest, ("headers", "task"), task)).encode()
    for run in ("../../x", "/etc", "..", ".", "none/../../x", "x" * 300, "\0"):
        for task in QUEUE_OF:
            yield with_body(put(honest, ("headers", "task"), task), arguments(run, task))


def arguments(run: str, task: str) -> bytes:
    shard = {"shard": "../../x"} if task.endswith("infer") else {}
    return json.dumps([[], {"run": run, "keys": ["../../x"], **shard}, {}]).encode()


class _Touch:
    """A pickle of this makes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self._path), "w")


def with_body(message: dict[str, Any], body: bytes, kind: str | None = None) -> bytes:
    changed = {**message, "body": base64.b64encode(body).decode()}
    if kind is not None:
        changed["content-type"] = kind
    return json.dumps(changed).encode()


def put(value: Any, place: tuple[Any, ...], new: object) -> Any:
    """A copy of `value` with `new` at `place`."""
    changed = copy.deepcopy(value)
    holder = changed
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = new
    return changed


def walk(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values inside `value`."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in entries:
        yield (*place, name)
        yield from walk(inner, (*place, name))


def mutated(data: st.DataObject, raw: bytes) -> bytes:
    """`raw` with a few pieces replaced, removed or doubled."""
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw)))
        stop = min(len(raw), start + data.draw(st.integers(0, 20)))
        piece = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"../../x", b"&a", b"*a", b"!!", b"{", b"\n  ", b"[", b": "])
        )
        raw = raw[:start] + data.draw(st.sampled_from([piece, piece + raw[start:stop], b""])) + raw[stop:]
    return raw


def read_or_refused(path: Path) -> None:
    try:
        load_batch(path)
    except DefectsError as error:
        defects = error.defects
    else:
        return
    assert defects
    assert all(defect.message and defect.remedy for defect in defects)


def everything(folder: Path, pattern: str = "**/*") -> set[str]:
    """Paths under `folder`, less what any command may leave there."""
    return {str(path.relative_to(folder)) for path in folder.glob(pattern)}
