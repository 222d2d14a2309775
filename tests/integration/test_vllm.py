"""The engine `vllm`, the real one on its CPU build: the same letters as the engine `transformers` but for near ties.

A near tie is a question whose two likeliest letters are less than NEAR_TIE apart in log-probability by the engine
`transformers`. On a CPU with AVX-512 vLLM multiplies by int4 weights in bfloat16 (8 bits of precision), which moves
log-probabilities by some hundredths; without, in float32, by some hundred-thousandths. Near ties are printed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.compute_rig import (
    PROMPT,
    ROOT,
    ComputeRig,
    ballots,
    compute,
    demo_examples,
    infer_order,
    result,
    train_order,
    write_examples,
    write_rows,
)
from tests.integration.near_ties import APART, NEAR_TIE, compared
from tests.integration.test_engines import (
    DAMAGES,
    Trained,
    check_canaries,
    check_only_damaged_fail,
    check_option_orders,
    check_samples,
    check_without_canaries,
    group_with_damage,
)

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
ROWS = 30
DEMO_TEST = ROOT / "data" / "demo" / "test.jsonl"


@dataclass(frozen=True)
class Given:
    """Adapters of the demo's data, and two that learned to say one letter; the rows; what `transformers` says."""

    adapters: dict[str, Path]
    constant: Trained
    rows: Path
    cast: dict[str, list[dict[str, object]]]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("given")
    examples = {
        "official": demo_examples(folder / "official.jsonl", "official", 80),
        "extra": demo_examples(folder / "extra.jsonl", "extra", 40),
        "b": write_examples(folder / "b.jsonl", 40, seed=3, letter="B"),
        "d": write_examples(folder / "d.jsonl", 40, seed=4, letter="D"),
    }
    with compute(folder) as rig:
        for name, file in examples.items():
            result(rig.order(train_order(folder / name, file, epochs=1, batch_size=2)))
        paths = {name: folder / name / "out" for name in examples}
        cast = ballots(rig.order(infer_order(paths, DEMO_TEST, ROWS)))
    rows = folder / "rows.jsonl"
    write_rows(rows, 8, seed=9)
    return Given(paths, Trained(paths["b"], paths["d"], rows), DEMO_TEST, cast)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComputeRig]:
    with compute(tmp_path_factory.mktemp("vllm"), "vllm-cpu") as rig:
        yield rig


LORAS = len(DAMAGES) + 3
"""Room for the largest group of this module, so that one engine serves all its tests."""


def vllm_order(adapters: dict[str, Path], rows: Path, stop: int, **other: object) -> dict[str, object]:
    return infer_order(adapters, rows, stop, engine="vllm", max_loras=LORAS, **other)


def test_same_letters_as_transformers_but_for_near_ties(
    rig: ComputeRig, given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    events = rig.order(vllm_order(given.adapters, given.rows, ROWS), seconds=200)
    cast = ballots(events)
    found = compared(given.cast, cast, NEAR_TIE)
    with capsys.disabled():
        print(found.told("vLLM and transformers"), end="")
    assert len({tuple(ballot["letter"] for ballot in cast[name]) for name in cast}) == len(cast), "adapters differ"
    assert len({ballot["letter"] for ballot in cast["official"]}) > 2, "an adapter's answers differ"
    assert not found.other, found.other
    assert found.apart < APART


def test_each_prompt_is_answered_by_its_own_adapter(rig: ComputeRig, given: Given) -> None:
    events = rig.order(vllm_order({"d": given.constant.d, "b": given.constant.b}, given.constant.rows, 8), seconds=200)
    cast = ballots(events)
    assert {ballot["letter"] for ballot in cast["d"]} == {"D"}
    assert {ballot["letter"] for ballot in cast["b"]} == {"B"}


def test_engine_is_kept_and_no_adapter_is_mistaken_for_another(rig: ComputeRig, given: Given, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    letters = []
    for source in (given.constant.b, given.constant.d):
        shutil.rmtree(adapter, ignore_errors=True)
        shutil.copytree(source, adapter)
        events = rig.order(vllm_order({"same-name": adapter}, given.constant.rows, 3), seconds=200)
        letters.append({ballot["letter"] for ballot in ballots(events)["same-name"]})
    assert letters == [{"B"}, {"D"}], "the second adapter under the same name and path is the one that answers"
    assert result(events)["warm"]


def test_damaged_adapters_fail_alone(rig: ComputeRig, given: Given, tmp_path: Path) -> None:
    group = group_with_damage(tmp_path, given.constant)
    assert len(group) == LORAS
    check_only_damaged_fail(rig, vllm_order(group, given.constant.rows, 6))


def test_an_adapter_that_the_engine_ignores_is_an_error(rig: ComputeRig, given: Given, tmp_path: Path) -> None:
    check_canaries(rig, given.constant, tmp_path, vllm_order)


def test_so_is_one_without_a_canary(rig: ComputeRig, given: Given, tmp_path: Path) -> None:
    check_without_canaries(rig, given.constant, tmp_path, vllm_order)


def test_blocks_of_a_stem_are_computed_once_an_adapter(rig: ComputeRig, given: Given, tmp_path: Path) -> None:
    """By vLLM's own count of the tokens that it found in its cache; a block is 32 tokens here."""
    padding = "".join(f"第{number}天下雨。" for number in range(20))
    problems = 4
    for row in write_rows(tmp_path / "rows.jsonl", problems, seed=12, padding=padding):
        assert len(row["questions"]) == 2
    group = {"b": given.constant.b, "d": given.constant.d}
    first, again = (result(rig.order(vllm_order(group, tmp_path / "rows.jsonl", problems))) for _ in range(2))
    assert first["prompts"] == len(group) * problems * 2
    assert first["cached_tokens"] >= len(group) * problems * 4 * 32, "the second question finds the stem's blocks"
    assert first["cached_tokens"] % 32 == 0
    assert again["cached_tokens"] > first["cached_tokens"], "the adapters are still in their slots: the first does, too"


def test_option_orders_are_averaged_by_position(rig: ComputeRig, given: Given, tmp_path: Path) -> None:
    check_option_orders(
        rig, vllm_order({"official": given.adapters["official"]}, given.constant.rows, 4), tmp_path, APART
    )


def test_free_text(rig: ComputeRig, given: Given) -> None:
    text = PROMPT | {"answer": "text"}
    cast = ballots(rig.order(vllm_order(given.adapters, given.constant.rows, 2, prompt=text), seconds=200))
    for own in cast.values():
        assert len(own) == 4
        assert all((ballot["letter"] is None) != (ballot["reason"] is None) for ballot in own)
        assert all(ballot["logprobs"] == [] for ballot in own)
    order = vllm_order({"official": given.adapters["official"]}, given.constant.rows, 2, prompt=text)
    check_samples(rig, order, "official")


def test_end_of_input_ends_it_at_work(given: Given, tmp_path: Path) -> None:
    with compute(tmp_path, "vllm-cpu") as busy:
        busy.send(vllm_order(given.adapters, given.rows, ROWS))
        busy.until(lambda event: event.get("phase") == "loading")
        busy.end_input()
        assert busy.process.wait(5) == 0
