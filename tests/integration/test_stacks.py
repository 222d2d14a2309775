"""The stack of the V100, on a CPU: auto-gptq itself trains, resumes and answers, and what it makes serves everywhere.

`volta-cpu` is `volta` with another torch (tests/unit/test_stack_pins.py). Its answers are compared with those of the
stack `cpu` (GPTQ weights dequantised exactly, transformers 5, peft 0.21) and of vLLM.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nonet.runs.plan import ADAPTERS
from scheduler.state import Phase
from tests.integration.compute_rig import (
    BASE,
    ROOT,
    ComputeRig,
    ballots,
    compute,
    demo_examples,
    files,
    infer_order,
    result,
    run_in_stack,
    train_order,
)
from tests.integration.near_ties import APART, NEAR_TIE, compared
from tests.rig import Rig
from tests.small_batch import write_batch

pytestmark = [pytest.mark.stacks, pytest.mark.timeout(900)]
AUTO_GPTQ = "auto_gptq.nn_modules.qlinear.qlinear_cuda_old.QuantLinear"
PLAIN = "torch.nn.modules.linear.Linear"
RECIPE: dict[str, Any] = {"dropout": 0.1, "epochs": 1, "batch_size": 4, "checkpoint_every": 4}
QUESTIONS, STEPS = 64, 16
ROWS = 12
TEST = ROOT / "data" / "demo" / "test.jsonl"
EXACT = 0.0001
"""Both stacks compute in float32 with the same weights: so far apart may log-probabilities lie."""
DRIFT = 0.001
"""So far apart may losses lie, since roundings add up from step to step."""


@dataclass(frozen=True)
class Trained:
    """An adapter that the stack of the V100 trained in one go."""

    examples: Path
    adapter: Path
    told: dict[str, Any]


@pytest.fixture(scope="module")
def volta(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComputeRig]:
    with compute(tmp_path_factory.mktemp("volta"), "volta-cpu") as rig:
        yield rig


@pytest.fixture(scope="module")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComputeRig]:
    with compute(tmp_path_factory.mktemp("cpu")) as rig:
        yield rig


@pytest.fixture(scope="module")
def trained(volta: ComputeRig, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    examples = folder / "examples.jsonl"
    lines = demo_examples(folder / "all.jsonl", "official", 60).read_text("utf-8").splitlines(keepends=True)
    examples.write_text("".join(lines[:QUESTIONS]), "utf-8")
    told = result(volta.order(train_order(folder, examples, **RECIPE), seconds=300))
    return Trained(examples, folder / "out", told)


def test_auto_gptqs_own_layers_train(trained: Trained) -> None:
    assert trained.told["steps"] == STEPS
    assert trained.told["layers"] == [AUTO_GPTQ]
    pinned = (ROOT / "config" / "stacks" / "volta.txt").read_text("utf-8").splitlines()
    for package in ("transformers", "peft", "auto-gptq"):
        assert f"{package}=={trained.told['versions'][package]}" in pinned


def test_it_learns_what_the_stack_cpu_learns(trained: Trained, cpu: ComputeRig, tmp_path: Path) -> None:
    told = result(cpu.order(train_order(tmp_path, trained.examples, **RECIPE)))
    assert told["layers"] == [PLAIN]
    own, plain = (json.loads((out / "losses.json").read_text()) for out in (trained.adapter, tmp_path / "out"))
    assert len(own) == STEPS
    assert own[-1][1] < own[0][1] - 0.1, own
    apart = [abs(a[1] - b[1]) for a, b in zip(own, plain, strict=True)]
    assert max(apart) < DRIFT, apart


def test_loss_and_gradients_are_the_ordinary_ones() -> None:
    apart = run_in_stack("volta-cpu", "stock_reference.py", "loss", BASE)
    assert apart["loss"] < 1e-5, apart
    assert apart["gradient"] < 1e-4, apart


def test_killed_and_resumed_to_the_same_bytes(volta: ComputeRig, trained: Trained, tmp_path: Path) -> None:
    with compute(tmp_path, "volta-cpu") as first:
        first.send(train_order(tmp_path, trained.examples, **RECIPE))
        saved = first.until(lambda event: event["event"] == "checkpoint")["step"]
    events = volta.order(train_order(tmp_path, trained.examples, **RECIPE), seconds=300)
    assert saved <= result(events)["resumed_from"] < STEPS
    assert files(tmp_path / "out") == files(trained.adapter)


def test_same_letters_as_the_stack_cpu_and_vllm_but_for_near_ties(
    volta: ComputeRig, cpu: ComputeRig, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = infer_order({"volta": trained.adapter}, TEST, ROWS)
    own = ballots(volta.order(order))
    plain = ballots(cpu.order(order))
    with compute(tmp_path, "vllm-cpu") as rig:
        vllm = ballots(rig.order(order | {"engine": "vllm"}, seconds=200))
    by_cpu, by_vllm = compared(own, plain, EXACT), compared(own, vllm, NEAR_TIE)
    with capsys.disabled():
        print(by_cpu.told("volta and cpu"), by_vllm.told("volta and vLLM"), end="")
    assert len({ballot["letter"] for ballot in own["volta"]}) > 2, "its answers differ"
    assert not by_cpu.other, by_cpu.other
    assert not by_vllm.other, by_vllm.other
    assert by_cpu.apart < EXACT
    assert by_vllm.apart < APART


def test_adapter_of_a_newer_peft_is_answered(volta: ComputeRig, cpu: ComputeRig, tmp_path: Path) -> None:
    examples = demo_examples(tmp_path / "examples.jsonl", "extra", 8)
    result(cpu.order(train_order(tmp_path, examples, epochs=1, batch_size=4)))
    order = infer_order({"cpu": tmp_path / "out"}, TEST, 4)
    found = compared(ballots(cpu.order(order)), ballots(volta.order(order)), EXACT)
    assert not found.other, found.other
    assert found.apart < EXACT
    config = tmp_path / "out" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_bias": True}))
    (failed,) = [event for event in volta.order(order) if event["event"] == "failed"]
    assert "peft 0.12.0 does not know lora_bias" in failed["error"]


def newer_base(folder: Path) -> Path:
    """The demo base with its facts where transformers 5 writes them, and another base of its rotary embedding."""
    shutil.copytree(BASE, folder)
    config = json.loads((BASE / "config.json").read_text())
    config["dtype"] = config.pop("torch_dtype")
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": config.pop("rope_theta") * 100}
    (folder / "config.json").write_text(json.dumps(config))
    settings = json.loads((BASE / "tokenizer_config.json").read_text())
    (folder / "chat_template.jinja").write_text(settings.pop("chat_template"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "TokenizersBackend"}))
    return folder


def test_base_written_by_transformers_5_is_the_same_model(
    volta: ComputeRig, cpu: ComputeRig, trained: Trained, tmp_path: Path
) -> None:
    order = infer_order({"volta": trained.adapter}, TEST, 4)
    newer = order | {"base": str(newer_base(tmp_path / "base"))}
    old, plain, own = ballots(cpu.order(order)), ballots(cpu.order(newer)), ballots(volta.order(newer, seconds=200))
    assert compared(plain, own, EXACT).apart < EXACT
    assert compared(old, own, EXACT).apart > 0.01, "the rotary embedding's base is heeded"


def test_one_fleet_trains_by_volta_and_answers_by_cpu(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "batch", mixes=2, rows=6, test_rows=5, epochs=1)
    with Rig(tmp_path, NONET_TRAIN_STACK="volta-cpu", NONET_TRANSFORMERS_STACK="cpu") as rig:
        rig.start_all(workers=1)
        plan = rig.submit(batch)
        pythons: set[str] = set()

        def complete() -> bool:
            pythons.update(process.cmdline()[0] for process in rig.compute_processes())
            return rig.phase(plan) is Phase.COMPLETE

        rig.wait(complete, 400, "a complete run", pause=0.3)
        assert {Path(python).parent.parent.name for python in pythons} == {"volta-cpu", "cpu"}
        for adapter in plan.adapters:
            commit = rig.storage.read(ADAPTERS, adapter.key)
            assert commit is not None
            assert commit.body["training"]["layers"] == [AUTO_GPTQ]
        assert len(rig.submission(plan).splitlines()) == 5
        assert set(rig.outcomes(plan)) == {"committed"}
