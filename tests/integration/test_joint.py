"""Joint training beside separate training: in float64 on a random model, and over the demo's base as it is used."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.compute_rig import (
    ComputeRig,
    Event,
    compute,
    files,
    result,
    run_in_stack,
    train_order,
    write_examples,
)

pytestmark = pytest.mark.timeout(600)
RECIPE: dict[str, Any] = {"dropout": 0.1, "batch_size": 2, "checkpoint_every": 3}
EXAMPLES = {"a": 10, "b": 16, "c": 6}
STEPS = {"a": 10, "b": 16, "c": 6}


@dataclass(frozen=True)
class Jointly:
    """Three adapters trained jointly, to which nothing happened."""

    folder: Path
    examples: dict[str, Path]
    events: list[Event]
    files: dict[str, dict[str, bytes]]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComputeRig]:
    with compute(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


@pytest.fixture(scope="module")
def jointly(rig: ComputeRig, tmp_path_factory: pytest.TempPathFactory) -> Jointly:
    folder = tmp_path_factory.mktemp("jointly")
    examples = {
        name: write_examples(folder / f"{name}.jsonl", count, seed=at, letter=name.upper())
        for at, (name, count) in enumerate(EXAMPLES.items())
    }
    events = rig.order(order(folder, examples, "abc"))
    result(events)
    return Jointly(folder, examples, events, {name: files(folder / name) for name in examples})


def order(folder: Path, examples: dict[str, Path], names: Sequence[str], **recipe: Any) -> dict[str, Any]:
    """An order to train the adapters `names` jointly, each into a folder of its name."""
    adapters = []
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        told = {"examples": examples[name], "checkpoint": folder / f"{name}-checkpoint", "out": folder / name}
        adapters.append({"name": name} | {key: str(path) for key, path in told.items()})
    shared = train_order(folder, examples[names[0]], **(RECIPE | recipe))
    for key in ("examples", "checkpoint", "out"):
        del shared[key]
    return shared | {"op": "train_jointly", "adapters": adapters}


def told(events: Sequence[Event], kind: str) -> dict[str, Event]:
    """The last event of a kind, by adapter."""
    return {event["adapter"]: event for event in events if event["event"] == kind}


@pytest.mark.parametrize("stack", ["cpu", pytest.param("volta-cpu", marks=pytest.mark.stacks)])
def test_every_adapter_is_the_one_of_a_training_by_itself(tmp_path: Path, stack: str) -> None:
    measured = run_in_stack(stack, "joint_reference.py", tmp_path)
    assert len(measured["alike"]) == 3
    for name, apart in measured["alike"].items():
        assert apart["gradient"] < 1e-9, (name, apart)
        assert apart["loss"] < 1e-9, (name, apart)
        assert apart["weight"] < 1e-6, f"{name}: {apart}, weights are float32 in an adapter's file"
    assert measured["diverging"]["weight"] < 1e-6, "one that diverges leaves the others as they are"
    assert measured["stopped"]["weight"] == 0, "a step that was given up is made again"


def test_each_is_told_of_by_itself_as_soon_as_it_is_done(jointly: Jointly) -> None:
    ends = [event["adapter"] for event in jointly.events if event["event"] == "trained"]
    assert ends == ["c", "a", "b"], "the shortest first"
    for name, event in told(jointly.events, "trained").items():
        trained = event["result"]
        assert (trained["steps"], trained["examples"]) == (STEPS[name], EXAMPLES[name])
        assert (trained["trainer"], trained["company"], trained["resumed_from"]) == ("joint", 3, None)
        assert trained["canary_effect"] > 0, "it has learned something"
    progress = [event for event in jointly.events if event["event"] == "progress" and event["phase"] == "training"]
    assert progress[-1]["steps"] == progress[-1]["step"] == sum(STEPS.values())
    assert {name: state["step"] for name, state in progress[-1]["adapters"].items()} == STEPS


def test_in_float32_it_is_pefts_within_rounding(rig: ComputeRig, jointly: Jointly, tmp_path: Path) -> None:
    result(rig.order(train_order(tmp_path, jointly.examples["a"], **RECIPE)))
    own = files(tmp_path / "out")
    mine = jointly.files["a"]
    assert mine.keys() == own.keys()
    assert mine["adapter_config.json"] == own["adapter_config.json"]
    pairs = zip(json.loads(mine["losses.json"]), json.loads(own["losses.json"]), strict=True)
    for (step, loss, rate), (other_step, other_loss, other_rate) in pairs:
        assert (step, rate) == (other_step, other_rate)
        assert loss == pytest.approx(other_loss, rel=1e-4, abs=1e-5), step
    apart = run_in_stack("cpu", "adapters_apart.py", tmp_path / "out", jointly.folder / "a")
    assert apart["matrices"] == 2 * 7 * 8
    assert apart["median"] < 1e-4, apart
    assert apart["relative"] < 1e-3, f"{apart}: AdamW makes whole steps of gradients that are nothing but rounding"


def test_drained_killed_and_resumed_in_other_company_to_the_same_bytes(
    rig: ComputeRig, jointly: Jointly, tmp_path: Path
) -> None:
    with compute(tmp_path) as first:
        first.send(order(tmp_path, jointly.examples, "abc"))
        first.until(lambda event: event["event"] == "checkpoint")
        first.send({"op": "drain", "id": "train"})
        assert first.until(lambda event: event["event"] in ("drained", "done"))["event"] == "drained"
        first.send(order(tmp_path, jointly.examples, "abc"))
        first.until(lambda event: event["event"] == "trained" and event["adapter"] == "c")
        first.until(lambda event: event["event"] == "checkpoint" and event["adapter"] == "b")
    pair = rig.order(order(tmp_path, jointly.examples, "ba"))
    for name, event in told(pair, "trained").items():
        assert event["result"]["resumed_from"] == told(pair, "resumed")[name]["step"] >= 6
    assert told(pair, "trained").keys() == {"a", "b"}
    for name in "abc":
        assert files(tmp_path / name) == jointly.files[name], name


def test_one_trainer_finishes_what_the_other_began(rig: ComputeRig, jointly: Jointly, tmp_path: Path) -> None:
    alone = train_order(tmp_path, jointly.examples["a"], **RECIPE) | {"checkpoint": str(tmp_path / "a-checkpoint")}
    rig.send(alone)
    rig.until(lambda event: event["event"] == "checkpoint")
    rig.send({"op": "drain", "id": "train"})
    step = rig.until(lambda event: event["event"] in ("drained", "done"))["step"]
    events = rig.order(order(tmp_path, jointly.examples, "a"))
    assert told(events, "trained")["a"]["result"]["resumed_from"] == step >= 3
    losses = [json.loads(content["losses.json"]) for content in (files(tmp_path / "a"), jointly.files["a"])]
    for (_, mixed, _), (_, whole, _) in zip(*losses, strict=True):
        assert mixed == pytest.approx(whole, rel=1e-4, abs=1e-5)


def test_what_is_wrong_with_one_fails_that_one(rig: ComputeRig, jointly: Jointly, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    events = rig.order(order(tmp_path, jointly.examples | {"b": empty}, "bc", epochs=1))
    result(events)
    assert told(events, "trained").keys() == {"c"}
    failed = told(events, "failed")["b"]
    assert failed["error_class"] == "bad_input"
    assert failed["error"] == f"{empty}: no examples to train on"
    assert not list((tmp_path / "b").iterdir())


def test_where_memory_runs_out_less_is_done_at_once_from_where_it_stood(jointly: Jointly, tmp_path: Path) -> None:
    told_order = json.dumps(order(tmp_path, jointly.examples, "ac"))
    events = run_in_stack("cpu", "joint_memory_runs_out.py", told_order)
    assert {event["step"] for event in events if event["event"] == "checkpoint"} >= {2}, "saved when it ran out"
    assert {name: event["step"] for name, event in told(events, "resumed").items()} == {"a": 2, "c": 2}
    assert [event["adapter"] for event in events if event["event"] == "trained"] == ["a", "c"], "one after the other"
    at_once = events[-1]["result"]["at_once"]
    assert (at_once["slots"], at_once["recompute"]) == (1, True), "tokens were halved, then recomputed, then slots"
    for name in "ac":
        assert files(tmp_path / name) == jointly.files[name], name
