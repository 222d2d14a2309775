"""Bases quantised by AWQ or not at all, by real compute processes; and two bases in one run of a real fleet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from nonet.runs.plan import ADAPTERS
from nonet.voting.aggregation import aggregate, spec_of
from scheduler.state import Phase
from tests.integration.compute_rig import (
    BASE,
    ComputeRig,
    ballots,
    compute,
    files,
    infer_order,
    result,
    run_in_stack,
    train_order,
    write_examples,
    write_rows,
)
from tests.integration.near_ties import APART, NEAR_TIE, compared
from tests.rig import Rig
from tests.small_batch import write_batch

pytestmark = pytest.mark.timeout(900)
FORMS = ("awq", "float32", "float16")
BASES = """\
bases:
  packed: {{model: {packed}}}
  plain: {{model: {plain}, training: {{rank: 4, stack: cpu}}, inference: {{stack: cpu}}}}
"""


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo base in every form."""
    folder = tmp_path_factory.mktemp("bases")
    for form in FORMS:
        run_in_stack("cpu", "other_bases.py", BASE, folder / form, form)
    return {"gptq": BASE} | {form: folder / form for form in FORMS}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComputeRig]:
    with compute(tmp_path_factory.mktemp("compute")) as rig:
        yield rig


@pytest.fixture(scope="module")
def trained(bases: dict[str, Path], rig: ComputeRig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapter over each form, of the same examples."""
    folder = tmp_path_factory.mktemp("trained")
    examples = write_examples(folder / "examples.jsonl", 4)
    for form, path in bases.items():
        order = train_order(folder / form, examples, name=form, epochs=1) | {"base": str(path)}
        result(rig.order(order))
    return {form: folder / form / "out" for form in bases}


@pytest.mark.parametrize("form", ["awq", "float32"])
def test_the_same_weights_in_another_form_give_the_same_adapter(trained: dict[str, Path], form: str) -> None:
    """AWQ's integers, and the plain numbers, stand for what the demo base's GPTQ integers stand for."""
    assert files(trained[form]) == files(trained["gptq"])


@pytest.mark.parametrize("form", FORMS)
def test_each_form_answers(
    bases: dict[str, Path], trained: dict[str, Path], rig: ComputeRig, tmp_path: Path, form: str
) -> None:
    write_rows(tmp_path / "rows.jsonl", 2, seed=1)
    order = infer_order({"a": trained[form]}, tmp_path / "rows.jsonl", 2) | {"base": str(bases[form])}
    events = rig.order(order)
    assert result(events)["prompts"] == 4
    assert all(len(ballot["logprobs"]) == 4 for ballot in ballots(events)["a"])
    (told,) = [event for event in events if event["event"] == "ballots"]
    assert told["seconds"] > 0
    assert told["peak_memory_bytes"] > 50_000_000


@pytest.mark.vllm
def test_vllm_answers_over_a_base_in_another_form(
    bases: dict[str, Path], trained: dict[str, Path], rig: ComputeRig, tmp_path: Path
) -> None:
    """As the engine `transformers` does, but for rounding: AWQ's integers, and weights that are not quantised."""
    write_rows(tmp_path / "rows.jsonl", 8, seed=1)
    with compute(tmp_path, "vllm-cpu") as vllm:
        for form in ("awq", "float16"):
            order = infer_order({"a": trained[form]}, tmp_path / "rows.jsonl", 8) | {"base": str(bases[form])}
            expected = ballots(rig.order(order))
            given = ballots(vllm.order(order | {"engine": "vllm"}, seconds=200))
            found = compared(expected, given, NEAR_TIE)
            assert not found.other, f"{form}: {found.other}"
            assert found.apart < APART, form


def test_a_run_over_two_bases_ends_in_a_vote_of_both(tmp_path: Path, bases: dict[str, Path]) -> None:
    """Two mixes over the demo base and over a float16 one that is not quantised, to a submission."""
    path = write_batch(tmp_path / "batch", rows=4, test_rows=3, epochs=1)
    text = path.read_text("utf-8").splitlines(keepends=True)
    several = BASES.format(packed=bases["gptq"], plain=bases["float16"])
    path.write_text("".join(several if line.startswith("base:") else line for line in text), "utf-8")
    with Rig(tmp_path) as rig:
        rig.start_all(workers=1)
        plan = rig.submit(path)
        rig.wait_for_phase(plan, Phase.COMPLETE)
        assert [adapter.name for adapter in plan.adapters] == ["all@packed", "part@packed", "all@plain", "part@plain"]
        ranks = {}
        for adapter in plan.adapters:
            commit = rig.storage.read(ADAPTERS, adapter.key)
            assert commit is not None
            assert commit.body["base"]["digest"] == plan.base_of(adapter).model.digest
            ranks[adapter.name] = commit.body["recipe"]["rank"]
        assert ranks == {"all@packed": 8, "part@packed": 8, "all@plain": 4, "part@plain": 4}
        voters = {voter.name for voter in aggregate(rig.storage, plan, spec_of(plan)).voters}
        assert voters == set(ranks), "members of both bases vote"
        assert len(rig.submission(plan).splitlines()) == 3
        status = json.loads(rig.nonet("status", plan.run, "--json").stdout)
        assert [base["name"] for base in status["bases"]] == ["packed", "plain"]
        told = rig.nonet("vote", plan.run).stdout
        assert "packed" in told
        assert rig.outcomes(plan) == {"committed": len(plan.adapters) + len(plan.cells) + 1}
        again = rig.nonet("plan", str(path), "--no-tokens").stdout
        assert "to train   0 of 4 adapters" in again
        assert "w0@" not in again, "the worker can do all of it"
