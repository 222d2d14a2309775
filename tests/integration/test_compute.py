"""The compute process as its supervisor meets it: the protocol, its ends, and what must not break it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.compute_rig import (
    BASE,
    ROOT,
    ComputeRig,
    compute,
    infer_order,
    result,
    stack_python,
    train_order,
    wait_gone,
    write_examples,
    write_rows,
)

pytestmark = pytest.mark.timeout(900)
CHATTY = '''
import os, sys

class Chatty:
    """Prints whenever a library is imported, as libraries do."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "peft"):
            print("a stray line on stdout from", name)
            os.write(1, b"a stray line past Python\\n")

sys.meta_path.insert(0, Chatty())
'''


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComputeRig]:
    with compute(tmp_path_factory.mktemp("idle")) as rig:
        yield rig


@pytest.mark.parametrize(
    ("line", "order", "says"),
    [
        ("not json", None, "not JSON"),
        ("[1, 2]", None, "an order is an object"),
        ('{"op": "train"}', None, "an order's id is a text"),
        ('{"op": "dance", "id": "x"}', "x", "not 'dance'"),
        ('{"id": "x"}', "x", "'op' is missing"),
        (json.dumps({"op": "train", "id": "x", "base": 7}), "x", "base is a text, not 7"),
        (json.dumps({"op": "infer", "id": "y", "base": "b", "adapters": 3}), "y", "order y"),
    ],
)
def test_line_that_is_no_order_is_told(idle: ComputeRig, line: str, order: str | None, says: str) -> None:
    (event,) = idle.order(line)
    assert (event["event"], event["id"], event["error_class"]) == ("error", order, "bad_input")
    assert says in event["error"]


def test_bad_orders_leave_the_process_usable(tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples.jsonl", 4)
    rows = tmp_path / "rows.jsonl"
    write_rows(rows, 2)
    with compute(tmp_path) as rig:
        lost = rig.order(train_order(tmp_path / "a", examples) | {"base": str(tmp_path / "no-base")})[-1]
        assert (lost["error_class"], lost["id"]) == ("bad_input", "train")
        assert "no-base/config.json" in lost["error"]
        lost = rig.order(train_order(tmp_path / "b", tmp_path / "no-examples"))[-1]
        assert lost["error_class"] == "bad_input"
        assert "no-examples" in lost["error"]
        lost = rig.order(infer_order({}, rows, 3))[-1]
        assert lost["error_class"] == "bad_input"
        assert "rows 0 to 3 are asked for, the file has 2" in lost["error"]
        lost = rig.order(train_order(tmp_path / "c", examples, max_length=20))[-1]
        assert lost["error_class"] == "bad_input"
        assert "more than max_length 20" in lost["error"]
        assert "row_0_000#0" in lost["error"]
        lost = rig.order(train_order(tmp_path / "d", examples, targets=["nowhere_proj"]))[-1]
        assert lost["error_class"] == "bad_input"
        assert "nowhere_proj" in lost["error"]
        blocked = train_order(tmp_path / "e", examples, checkpoint_every=2)
        (tmp_path / "e" / "checkpoint").write_text("a file where a folder is wanted")
        lost = rig.order(blocked)[-1]
        assert (lost["error_class"], lost["traceback"][:9]) == ("storage", "Traceback")
        rig.send({"op": "drain", "id": "an order that never was"})
        assert result(rig.order(train_order(tmp_path / "f", examples, epochs=1)))["steps"] == 4


def test_stray_prints_do_not_reach_the_events(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CHATTY)
    examples = write_examples(tmp_path / "examples.jsonl", 2)
    with compute(tmp_path, path=[tmp_path / "site"]) as rig:
        assert result(rig.order(train_order(tmp_path, examples, epochs=1)))["steps"] == 2
        assert all(isinstance(json.loads(line), dict) for line in rig.heard)
        said = rig.words(10_000)
        assert "a stray line on stdout" in said
        assert "a stray line past Python" in said


def test_end_of_input_ends_it_idle_and_at_work(tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples.jsonl", 40)
    with compute(tmp_path) as idle:
        idle.end_input()
        assert idle.process.wait(5) == 0
    with compute(tmp_path) as busy:
        busy.send(train_order(tmp_path, examples, epochs=50))
        busy.until(lambda event: event.get("phase") == "training")
        busy.end_input()
        assert busy.process.wait(2) == 0


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """Also where something else still holds its stdin open, so that no end of input tells it."""
    parent = (
        "import os, subprocess, sys, time\n"
        "orders, hold = os.pipe()\n"
        "child = subprocess.Popen([sys.argv[1], '-m', 'nonet.compute'], stdin=orders, stdout=subprocess.DEVNULL)\n"
        "holder = subprocess.Popen(['sleep', '60'], pass_fds=[hold])\n"
        "print(child.pid, holder.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent, str(stack_python("cpu"))],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout is not None
        child, holder = map(int, started.stdout.readline().split())
        assert not wait_gone(child, 1.5), "it waits for orders"
        started.kill()
    try:
        assert wait_gone(child, 5)
    finally:
        os.kill(holder, signal.SIGKILL)


def test_kept_base_is_loaded_once(tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples.jsonl", 4)
    rows = tmp_path / "rows.jsonl"
    write_rows(rows, 2)
    with compute(tmp_path) as rig:
        result(rig.order(train_order(tmp_path, examples, epochs=1)))
        adapter = {"one": tmp_path / "out"}
        assert result(rig.order(infer_order(adapter, rows, 2)))["warm"]
        other = tmp_path / "base"
        other.mkdir()
        for file in BASE.iterdir():
            (other / file.name).symlink_to(file)
        assert not result(rig.order(infer_order(adapter, rows, 2, base=str(other))))["warm"]
