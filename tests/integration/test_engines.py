"""The engine `transformers` on the demo base: beside a plain loop in stock peft, and with damaged adapters."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.compute_rig import (
    BASE,
    PROMPT,
    ComputeRig,
    ballots,
    compute,
    infer_order,
    result,
    run_in_stack,
    train_order,
    write_examples,
    write_rows,
)

pytestmark = pytest.mark.timeout(900)
ROWS = 6


@dataclass(frozen=True)
class Trained:
    """Two adapters, one that learned to say B and one that learned to say D, and rows to ask them."""

    b: Path
    d: Path
    rows: Path


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComputeRig]:
    with compute(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


@pytest.fixture(scope="module")
def trained(rig: ComputeRig, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    for letter in "bd":
        examples = write_examples(folder / f"{letter}.jsonl", 30, letter=letter.upper())
        result(rig.order(train_order(folder / letter, examples, epochs=1)))
    write_rows(folder / "rows.jsonl", ROWS, seed=5)
    return Trained(folder / "b" / "out", folder / "d" / "out", folder / "rows.jsonl")


def test_same_log_probabilities_as_stock_peft(rig: ComputeRig, tmp_path: Path, trained: Trained) -> None:
    events = rig.order(infer_order({"d": trained.d}, trained.rows, ROWS))
    own = {ballot["q"]: ballot for ballot in ballots(events)["d"]}
    stock = run_in_stack("cpu", "stock_reference.py", "logprobs", BASE, trained.d, trained.rows, json.dumps(PROMPT))
    assert own.keys() == stock.keys()
    for question, logprobs in stock.items():
        assert own[question]["logprobs"] == pytest.approx(logprobs, abs=1e-4), question
        assert own[question]["letter"] == "ABCD"[logprobs.index(max(logprobs))]


def test_each_adapter_answers_in_its_own_way(rig: ComputeRig, tmp_path: Path, trained: Trained) -> None:
    both = rig.order(infer_order({"b": trained.b, "d": trained.d}, trained.rows, ROWS))
    shard = rig.order(infer_order({"d": trained.d}, trained.rows, 5, start=3))
    again = rig.order(infer_order({"d": trained.d, "b": trained.b}, trained.rows, ROWS))
    cast = ballots(both)
    assert {ballot["letter"] for ballot in cast["b"]} == {"B"}
    assert {ballot["letter"] for ballot in cast["d"]} == {"D"}
    assert [ballot["q"] for ballot in cast["d"]][:3] == ["row_5_000#0", "row_5_000#1", "row_5_001#0"]
    for ballot in cast["b"]:
        assert ballot["reason"] is None
        assert sum(map(math.exp, ballot["logprobs"])) == pytest.approx(1, abs=1e-4)
    assert result(both)["prompts"] == 2 * 2 * ROWS
    for own, whole in zip(ballots(shard)["d"], cast["d"][6:10], strict=True):
        assert (own["q"], own["letter"]) == (whole["q"], whole["letter"]), "a shard's ballots are those of its rows"
        assert own["logprobs"] == pytest.approx(whole["logprobs"], abs=1e-5), "but for rounding: it is packed otherwise"
    assert ballots(again) == cast, "taking adapters off and on changes nothing"


def missing_file(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


def truncated(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def empty_config(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("")


def other_rank(folder: Path) -> None:
    edit(folder, lambda config: config.update(r=4))


def fewer_targets(folder: Path) -> None:
    edit(folder, lambda config: config.update(target_modules=["q_proj"]))


def another_kind(folder: Path) -> None:
    edit(folder, lambda config: config.update(peft_type="IA3"))


def not_finite(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-4:] = b"\x00\x00\xc0\x7f"  # the last float32 becomes NaN
    weights.write_bytes(content)


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def silence(folder: Path, value: float = 1e-9) -> None:
    """Make all of an adapter's lora_B so small that it changes nothing: what an engine that ignores it would answer."""
    weights = folder / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    for name, tensor in json.loads(content[8 : 8 + length]).items():
        if name.endswith("lora_B.weight"):
            start, stop = (8 + length + offset for offset in tensor["data_offsets"])
            content[start:stop] = struct.pack("<f", value) * ((stop - start) // 4)
    weights.write_bytes(content)


def untrained(folder: Path) -> None:
    silence(folder, 0.0)


DAMAGES = (missing_file, truncated, empty_config, other_rank, fewer_targets, another_kind, not_finite, untrained)


def group_with_damage(folder: Path, trained: Trained) -> dict[str, Path]:
    """Every kind of damage, between two sound adapters."""
    group = {"b": trained.b}
    for damage in DAMAGES:
        shutil.copytree(trained.b, folder / damage.__name__)
        damage(folder / damage.__name__)
        group[damage.__name__] = folder / damage.__name__
    return group | {"nowhere": folder / "nowhere", "d": trained.d}


def check_only_damaged_fail(rig: ComputeRig, order: dict[str, Any]) -> None:
    events = rig.order(order)
    failed = {event["adapter"]: event for event in events if event["event"] == "failed"}
    assert sorted(failed) == sorted(["nowhere", *(damage.__name__ for damage in DAMAGES)])
    assert {event["error_class"] for event in failed.values()} == {"bad_input"}
    assert "not finite" in failed["not_finite"]["error"]
    assert "every lora_B is zero" in failed["untrained"]["error"]
    assert "has the shape" in failed["other_rank"]["error"]
    cast = ballots(events)
    assert list(cast) == ["b", "d"]
    assert {ballot["letter"] for ballot in cast["b"]} == {"B"}
    assert {ballot["letter"] for ballot in cast["d"]} == {"D"}
    assert result(events)["prompts"] == len(order["adapters"]) * 2 * ROWS
    progress = [event for event in events if event["event"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"]


def test_damaged_adapters_fail_alone(rig: ComputeRig, tmp_path: Path, trained: Trained) -> None:
    check_only_damaged_fail(rig, infer_order(group_with_damage(tmp_path, trained), trained.rows, ROWS))


def check_canaries(rig: ComputeRig, trained: Trained, folder: Path, order: Callable[..., dict[str, Any]]) -> None:
    """Of a group the adapter without effect, and that with another's weights, fail with a reason; nothing else does."""
    group = {"d": trained.d, "silent": folder / "silent", "other": folder / "other", "b": trained.b}
    for name in ("silent", "other"):
        shutil.copytree(trained.b, group[name])
    silence(group["silent"])
    shutil.copy(trained.d / "adapter_model.safetensors", group["other"])
    for _ in range(2):
        events = rig.order(order(group, trained.rows, 2), seconds=200)
        failed = {event["adapter"]: event for event in events if event["event"] == "failed"}
        assert sorted(failed) == ["other", "silent"], "every time, not only the first"
        for name, event in failed.items():
            assert event["error_class"] == "bad_input"
            assert f"{group[name]}: the engine" in event["error"]
            assert "ignores this adapter" in event["error"]
            assert "train the adapter again" in event["error"]
        assert {name: {b["letter"] for b in cast} for name, cast in ballots(events).items()} == {"b": {"B"}, "d": {"D"}}
        progress = [event for event in events if event["event"] == "progress"]
        assert progress[-1]["done"] == progress[-1]["total"] == 4 * 2 * 2


def test_an_adapter_without_effect_is_an_error(rig: ComputeRig, tmp_path: Path, trained: Trained) -> None:
    check_canaries(rig, trained, tmp_path, infer_order)


def check_without_canaries(
    rig: ComputeRig, trained: Trained, folder: Path, order: Callable[..., dict[str, Any]]
) -> None:
    """Of adapters without a canary, as imported ones are, the one that the engine ignores fails; the other answers."""
    group = {name: folder / name for name in ("foreign", "ignored", "broken")}
    for path in group.values():
        shutil.copytree(trained.b, path)
        (path / "canary.json").unlink()
    silence(group["ignored"])
    (group["broken"] / "canary.json").write_text("{}[")
    events = rig.order(order(group, trained.rows, 2), seconds=200)
    failed = {event["adapter"]: event["error"] for event in events if event["event"] == "failed"}
    assert {name: {b["letter"] for b in cast} for name, cast in ballots(events).items()} == {"foreign": {"B"}}
    assert sorted(failed) == ["broken", "ignored"]
    assert "canary.json: JSONDecodeError" in failed["broken"]
    assert f"{group['ignored']}: the engine" in failed["ignored"]
    assert "on 3 questions its log-probabilities are the base's own" in failed["ignored"]


def test_adapters_without_a_canary(rig: ComputeRig, tmp_path: Path, trained: Trained) -> None:
    check_without_canaries(rig, trained, tmp_path, infer_order)


def check_option_orders(rig: ComputeRig, order: dict[str, Any], folder: Path, apart: float) -> dict[str, Any]:
    """Three orders in one go are the mean of three goes over rows turned by hand, found by the options' texts.

    `order` asks rows of `write_rows`, whose questions have four different options. Returns the ballots.
    """
    rows = [json.loads(line) for line in Path(order["problems"]).read_text("utf-8").splitlines()]
    options = {f"{row['id']}#{at}": q["options"] for row in rows for at, q in enumerate(row["questions"])}
    sums: dict[tuple[str, str], dict[str, float]] = {}
    for turn in range(3):
        for row in rows:
            for question in row["questions"]:
                question["options"] = [*question["options"][turn:], *question["options"][:turn]]
        turned = folder / f"turned-{turn}.jsonl"
        turned.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        for name, cast in ballots(rig.order(order | {"problems": str(turned)}, seconds=200)).items():
            for ballot in cast:
                shown = [*options[ballot["q"]][turn:], *options[ballot["q"]][:turn]]
                own = sums.setdefault((name, ballot["q"]), dict.fromkeys(shown, 0.0))
                for text, value in zip(shown, ballot["logprobs"], strict=True):
                    own[text] += value / 3
        for row in rows:
            for question, found in zip(
                row["questions"], (options[f"{row['id']}#{at}"] for at in range(2)), strict=True
            ):
                question["options"] = found
    events = rig.order(order | {"permutations": 3}, seconds=200)
    asked = sum(map(len, ballots(events).values()))
    assert asked == len(sums)
    assert result(events)["prompts"] == 3 * asked
    assert [e for e in events if e["event"] == "progress"][-1]["done"] == 3 * asked
    for name, cast in ballots(events).items():
        for ballot in cast:
            means = [sums[name, ballot["q"]][text] for text in options[ballot["q"]]]
            total = math.log(sum(map(math.exp, means)))
            assert ballot["logprobs"] == pytest.approx([value - total for value in means], abs=apart)
            assert ballot["letter"] == "ABCD"[ballot["logprobs"].index(max(ballot["logprobs"]))]
    return ballots(events)


def test_option_orders_are_averaged_by_position(rig: ComputeRig, tmp_path: Path, trained: Trained) -> None:
    order = infer_order({"b": trained.b, "d": trained.d}, trained.rows, ROWS)
    cast = check_option_orders(rig, order, tmp_path, 1e-5)
    assert [ballot["q"] for ballot in cast["b"]][:3] == ["row_5_000#0", "row_5_000#1", "row_5_001#0"]
    every = ballots(rig.order(order | {"permutations": 9}))
    assert len({ballot["letter"] for ballot in every["b"]}) > 1, "over all orders, always saying B favours no option"


def test_drained_between_prompts(rig: ComputeRig, tmp_path: Path, trained: Trained) -> None:
    rig.send(infer_order({f"copy-{n}": trained.b for n in range(30)}, trained.rows, ROWS))
    rig.until(lambda event: event.get("done", 0) > 0)
    rig.send({"op": "drain", "id": "infer"})
    last = list(rig.events())[-1]
    assert last["event"] == "drained"
    assert 0 < last["step"] < 30 * 2 * ROWS
    assert len(ballots(rig.order(infer_order({"b": trained.b}, trained.rows, ROWS)))["b"]) == 2 * ROWS


def test_texts_in_batches_are_those_of_stock_transformers_one_by_one(tmp_path: Path) -> None:
    tokens = 24
    rows = write_rows(tmp_path / "rows.jsonl", 2, seed=6) + write_rows(
        tmp_path / "long.jsonl", 2, padding="天下雨。" * 9
    )
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    found = run_in_stack("cpu", "text_reference.py", BASE, tmp_path / "rows.jsonl", str(tokens))
    assert len(set(found["widths"])) > 1, "prompts of several lengths"
    assert found["own"] == found["stock"]
    assert {len(ids) < tokens for ids in found["own"]} == {True, False}, "some end early, others go on"
    assert found["ended"] == [len(ids) < tokens for ids in found["own"]]
    assert found["together"] == found["alone"], "what is drawn depends on question and sample alone"
    assert len(set(map(tuple, found["together"]))) > len(rows) * 2, "the samples of a question differ"
    done, written = zip(*found["heard"], strict=True)
    assert list(done) == sorted(done)
    assert list(written) == sorted(written)
    assert done[-1] == len(rows) * 2
    reasons = [sample[1] for ballot in found["budget"] for sample in ballot["samples"]]
    spent = reasons.index("budget_spent")
    assert set(reasons[spent:]) == {"budget_spent"}, "and nothing after the first reply beyond it counts"
    assert spent > 0


def check_samples(rig: ComputeRig, order: dict[str, Any], adapter: str) -> list[dict[str, Any]]:
    """Three samples a question, the same in a second try; a budget that holds none; progress by tokens."""
    sampled = order | {"samples": 3, "temperature": 0.7}
    first, again = (rig.order(sampled, seconds=200) for _ in range(2))
    cast = ballots(first)[adapter]
    assert [len(ballot["samples"]) for ballot in cast] == [3] * len(cast)
    assert ballots(again)[adapter] == cast
    progress = [event for event in first if event["event"] == "progress" and event["phase"] == "answering"]
    assert progress[-1]["written"] > 0
    assert progress[-1]["done"] == progress[-1]["total"]
    poor = ballots(rig.order(order | {"token_budget": 1}, seconds=200))[adapter]
    assert {ballot["reason"] for ballot in poor[-2:]} == {"budget_spent"}
    return cast


def test_free_text_is_parsed_or_says_why_not(rig: ComputeRig, tmp_path: Path, trained: Trained) -> None:
    text = PROMPT | {"answer": "text"}
    examples = write_examples(tmp_path / "examples.jsonl", 30, letter="C")
    taught = train_order(tmp_path / "text", examples) | {"prompt": text}
    result(rig.order(taught))
    group = {"text": tmp_path / "text" / "out"}
    cast = ballots(rig.order(infer_order(group, trained.rows, ROWS, prompt=text)))["text"]
    assert {(ballot["letter"], ballot["reason"]) for ballot in cast} == {("C", None)}
    assert {tuple(ballot["logprobs"]) for ballot in cast} == {()}
    short = ballots(rig.order(infer_order(group, trained.rows, 1, prompt=text, max_tokens=1)))["text"]
    assert [(ballot["letter"], ballot["reason"]) for ballot in short] == [(None, "cut_off")] * 2
    drawn = check_samples(rig, infer_order(group, trained.rows, 2, prompt=text), "text")
    assert [sample for ballot in drawn for sample in ballot["samples"]] == [["C", None]] * 12
