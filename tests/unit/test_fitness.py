"""What a worker refuses for its stack or its GPU, before it begins an attempt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from config.settings import Settings
from nonet.bases.fingerprint import base_digest
from nonet.limits.capacity import Capacity
from nonet.limits.fit import TRAIN
from nonet.runs.attempt import Attempts
from nonet.runs.plan import BaseModel, Plan, PlannedBase
from nonet.runs.plans import Plans
from nonet.stores.storage import Storage
from tasks.context import TaskContext, connect
from tasks.fitness import able_or_rest
from tasks.line import Line
from tests.unit.test_memory import QWEN_72B, V100

RECIPE = {"rank": 8, "targets": ["q_proj"], "max_length": 512, "batch_size": 1, "dropout": 0.0}


class Ending:
    """A compute process of a worker that is asked to stop: nothing rests."""

    def draining(self) -> bool:
        return True

    def execute(self, order: Mapping[str, Any], **_: Any) -> Mapping[str, Any]:
        raise AssertionError(f"nothing is to be computed: {order}")


@pytest.fixture
def able(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., tuple[bool, str]]:
    """Whether a worker of a capacity trains over an AWQ base, and what it logs. No Redis answers: it is not needed."""
    (tmp_path / "stacks" / "volta" / "bin").mkdir(parents=True)
    (tmp_path / "stacks" / "volta" / "bin" / "python").touch()
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(json.dumps(QWEN_72B))
    base = PlannedBase(
        "",
        BaseModel("m", None, str(tmp_path), base_digest(tmp_path)),
        "transformers",
        RECIPE,
        {"answer": "letter", "max_tokens": 1},
    )
    plan = Plan("run-1", "run", (base,), {}, {}, {}, (), (), "s.jsonl")
    settings = Settings(home=tmp_path / "home", stacks=tmp_path / "stacks")
    client = connect("redis://127.0.0.1:1/0", 0.1)

    def tried(capacity: Capacity | None, stack: str = "volta") -> tuple[bool, str]:
        home = settings.storage_home
        line = Line(Celery("nonet", set_as_current=False))
        storage, attempts, plans = Storage(home), Attempts(home), Plans(home.store)
        context = TaskContext(settings, home, storage, attempts, client, Ending(), "w@h", line, capacity, plans)
        return able_or_rest(context, plan, ["k" * 64], base, TRAIN, stack), caplog.text

    return tried


def test_awq_is_left_to_a_gpu_that_has_its_kernels(able: Callable[..., tuple[bool, str]]) -> None:
    assert able(replace(V100, capability=(7, 5), memory=1)) == (True, ""), "memory is an estimate: a try does no harm"
    assert able(None) == (True, ""), "where nothing is known of the GPU it is tried"
    taken, told = able(V100)
    assert not taken
    assert "refused work of run run-1: Tesla V100-SXM2-32GB has compute capability 7.0, AWQ's kernels need 7.5" in told


def test_a_stack_that_is_not_installed_is_named_with_the_remedies(able: Callable[..., tuple[bool, str]]) -> None:
    taken, told = able(V100, "gpu")
    assert not taken
    assert "run `make stack-gpu`, or name another stack in the batch" in told


def test_another_base_under_the_same_path_is_refused(able: Callable[..., tuple[bool, str]], tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"another revision")
    taken, told = able(None)
    assert not taken
    assert f"{tmp_path} holds another base here" in told
    assert "have the same files there on every host" in told


def test_a_base_that_is_missing_is_left_to_the_compute_process(
    able: Callable[..., tuple[bool, str]], tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").unlink()
    assert able(None) == (True, ""), "its attempt fails, for everybody to see"
