"""Training by a real compute process on the demo base: what it learns, and that nothing disturbs what comes out."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.compute_rig import (
    BASE,
    PROMPT,
    TARGETS,
    ComputeRig,
    Event,
    compute,
    files,
    result,
    run_in_stack,
    train_order,
    write_examples,
)

pytestmark = pytest.mark.timeout(900)
EXAMPLES = 30
STEPS = 60
RECIPE: dict[str, Any] = {"dropout": 0.1}
"""With dropout, so that a resumed training must also draw what the unbroken one draws."""


@dataclass(frozen=True)
class Unbroken:
    """A training to which nothing happened."""

    examples: Path
    out: Path
    events: list[Event]
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    folder = tmp_path_factory.mktemp("unbroken")
    examples = write_examples(folder / "examples.jsonl", EXAMPLES, letter="C")
    with compute(folder) as rig:
        events = rig.order(train_order(folder, examples, **RECIPE))
    result(events)
    return Unbroken(examples, folder / "out", events, files(folder / "out"))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComputeRig]:
    """One process for all trainings that are not about its death."""
    with compute(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


def order(folder: Path, unbroken: Unbroken, **recipe: Any) -> dict[str, Any]:
    return train_order(folder, unbroken.examples, **(RECIPE | recipe))


def break_off(rig: ComputeRig, folder: Path, unbroken: Unbroken, *, beyond: int) -> int:
    """Train until a step beyond `beyond`, then drain; returns the step of the checkpoint."""
    rig.send(order(folder, unbroken))
    rig.until(lambda event: event.get("step") is not None and event["step"] > beyond)
    rig.send({"op": "drain", "id": "train"})
    last = rig.until(lambda event: event["event"] in ("drained", "done"))
    assert last["event"] == "drained", "it was drained before it was done"
    step = last["step"]
    assert isinstance(step, int)
    return step


def resumed(events: list[Event]) -> list[int]:
    return [event["step"] for event in events if event["event"] == "resumed"]


def test_it_tells_what_it_does(unbroken: Unbroken) -> None:
    told = result(unbroken.events)
    assert (told["steps"], told["examples"], told["cut"], told["resumed_from"]) == (STEPS, EXAMPLES, 0, None)
    assert told["seconds"] > 0
    assert told["peak_memory_bytes"] > 50_000_000
    progress = [event for event in unbroken.events if event["event"] == "progress"]
    assert [progress[0][name] for name in ("phase", "step", "steps", "loss")] == ["loading", 0, STEPS, None]
    assert [progress[-1][name] for name in ("phase", "step", "seconds_left")] == ["training", STEPS, 0.0]
    saved = [event["step"] for event in unbroken.events if event["event"] == "checkpoint"]
    assert saved == [10, 20, 30, 40, 50]


def test_loss_falls_and_its_history_is_in_the_artifact(unbroken: Unbroken) -> None:
    losses = json.loads(unbroken.files["losses.json"])
    assert [step for step, _, _ in losses] == list(range(1, STEPS + 1))
    assert all(math.isfinite(loss) for _, loss, _ in losses)
    rates = [rate for _, _, rate in losses]
    assert rates == pytest.approx([1e-3 * (STEPS - step) / STEPS for step in range(STEPS)])
    early = sum(loss for _, loss, _ in losses[:15]) / 15
    late = sum(loss for _, loss, _ in losses[-15:]) / 15
    assert late < early - 0.1, (early, late)


def test_adapter_is_pefts_and_of_no_machine(unbroken: Unbroken) -> None:
    assert sorted(unbroken.files) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "canary.json",
        "losses.json",
    ]
    config = json.loads(unbroken.files["adapter_config.json"])
    wanted = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 8,
        "lora_alpha": 32,
        "lora_dropout": 0.1,
        "bias": "none",
        "target_modules": sorted(TARGETS),
        "base_model_name_or_path": None,
        "inference_mode": True,
    }
    assert {name: config[name] for name in wanted} == wanted
    for name, content in unbroken.files.items():
        assert str(BASE.parent).encode() not in content, name


def test_same_order_same_bytes(rig: ComputeRig, tmp_path: Path, unbroken: Unbroken) -> None:
    other_seed = rig.order(order(tmp_path / "seed", unbroken, seed=1))
    again = rig.order(order(tmp_path / "again", unbroken))
    assert result(again)["resumed_from"] is None
    assert files(tmp_path / "again" / "out") == unbroken.files, "also in a process that trained another adapter before"
    result(other_seed)
    assert files(tmp_path / "seed" / "out") != unbroken.files


def test_killed_and_resumed_to_the_same_bytes(tmp_path: Path, unbroken: Unbroken) -> None:
    with compute(tmp_path) as first:
        first.send(order(tmp_path, unbroken))
        saved = first.until(lambda event: event["event"] == "checkpoint" and event["step"] >= 20)["step"]
    assert not list((tmp_path / "out").iterdir()), "nothing is published before the end"
    (tmp_path / "checkpoint" / ".part-of-a-killed-writer").mkdir()
    with compute(tmp_path) as second:
        second.send(order(tmp_path, unbroken))
        again = second.until(lambda event: event["event"] == "resumed")["step"]
        assert again >= saved
        second.until(lambda event: event["event"] == "checkpoint" and event["step"] > again)
    with compute(tmp_path) as third:
        events = third.order(order(tmp_path, unbroken))
    assert resumed(events) == [result(events)["resumed_from"]]
    assert resumed(events)[0] > again
    assert files(tmp_path / "out") == unbroken.files
    assert not list((tmp_path / "checkpoint").glob(".part-*"))


def test_drained_damaged_foreign_and_resumed_to_the_same_bytes(
    rig: ComputeRig, tmp_path: Path, unbroken: Unbroken
) -> None:
    checkpoints = tmp_path / "checkpoint"
    step = break_off(rig, tmp_path, unbroken, beyond=20)
    kept = sorted(int(folder.name.removeprefix("step-")) for folder in checkpoints.iterdir())
    assert kept[-1] == step
    assert len(kept) == 2, "the newest, and one more for the case that it is damaged"
    tensors = checkpoints / f"step-{step}" / "tensors.safetensors"
    sound = tensors.read_bytes()
    content = bytearray(sound)
    content[len(content) // 2] ^= 1
    tensors.write_bytes(content)
    for name in ("damaged", "foreign"):
        shutil.copytree(checkpoints, tmp_path / name / "checkpoint")

    events = rig.order(order(tmp_path / "foreign", unbroken, seed=1))
    assert resumed(events) == [], "checkpoints of another training are not resumed"
    assert files(tmp_path / "foreign" / "out") != unbroken.files

    events = rig.order(order(tmp_path / "damaged", unbroken))
    assert resumed(events) == [kept[0]], "the damaged one is passed over for the one before it"
    assert files(tmp_path / "damaged" / "out") == unbroken.files

    tensors.write_bytes(sound)
    events = rig.order(order(tmp_path, unbroken, checkpoint_every=7))
    assert resumed(events) == [step], "how often checkpoints are written makes no other training"
    assert files(tmp_path / "out") == unbroken.files


def test_damaged_manifest_is_passed_over(rig: ComputeRig, tmp_path: Path, unbroken: Unbroken) -> None:
    break_off(rig, tmp_path, unbroken, beyond=5)
    for manifest in (tmp_path / "checkpoint").glob("step-*/checkpoint.json"):
        manifest.write_text(manifest.read_text().replace('"losses": [[1,', '"losses": [[7,'))
    events = rig.order(order(tmp_path, unbroken))
    assert resumed(events) == []
    assert files(tmp_path / "out") == unbroken.files


def test_batches_and_text_replies_train(rig: ComputeRig, tmp_path: Path, unbroken: Unbroken) -> None:
    text = order(tmp_path, unbroken, batch_size=4, epochs=1) | {"prompt": PROMPT | {"answer": "text"}}
    told = result(rig.order(text))
    assert told["steps"] == math.ceil(EXAMPLES / 4)
    assert told["final_loss"] > 0


def test_stem_is_cut_at_max_length_and_never_the_answer(rig: ComputeRig, tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "long.jsonl", 6, padding="今天天气很好。" * 60)
    limit = 160
    cut = run_in_stack("cpu", "stock_reference.py", "prompts", BASE, examples, json.dumps(PROMPT), str(limit))
    whole = [json.loads(line) for line in examples.read_text("utf-8").splitlines()]
    for told, example in zip(cut, whole, strict=True):
        assert told["cut"] > 0
        assert limit - 4 <= told["length"] + 1 <= limit, "as much of the stem as fits, with room for the letter"
        head, _, tail = told["text"].partition("\n问题:\n")
        options = "\n".join(f"{a}. {o}" for a, o in zip("ABCD", example["options"], strict=True))
        assert tail == f"{example['question']}\n选项:\n{options}<|im_end|>\n<|im_start|>assistant\n{PROMPT['prefix']}"
        stem = head.partition("题目:")[2]
        assert stem
        assert example["stem"].startswith(stem)
    events = rig.order(train_order(tmp_path, examples, max_length=limit, epochs=1))
    assert result(events)["cut"] == 6


def test_loss_and_gradients_are_the_ordinary_ones() -> None:
    apart = run_in_stack("cpu", "stock_reference.py", "loss", BASE)
    assert apart["loss"] < 1e-5, apart
    assert apart["gradient"] < 1e-4, apart


def test_dequantised_weights_are_gptqmodels() -> None:
    apart = run_in_stack("cpu", "stock_reference.py", "weights", BASE)
    assert apart["modules"] >= 7
    assert apart["exact"] == 0.0, apart
    assert apart["rounded"] == 0.0, apart
