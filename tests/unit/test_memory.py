"""Estimates of memory, over the shapes that well-known bases publish; and which worker a base fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nonet.adapters.recipe import TARGETS
from nonet.limits.capacity import Capacity, capacity_from_json
from nonet.limits.fit import ANSWER, TRAIN, Need, misfit
from nonet.limits.memory import GIB, Architecture, Work, answering_memory, architecture, training_memory
from nonet.runs.plan import BaseModel, PlannedBase, Stacks

QWEN_32B: dict[str, Any] = {  # Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4, config.json
    "model_type": "qwen2",
    "hidden_size": 5120,
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "intermediate_size": 27648,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128},
}
QWEN_72B = QWEN_32B | {  # Qwen/Qwen2-72B-Instruct-AWQ, config.json
    "hidden_size": 8192,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "intermediate_size": 29568,
    "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"},
}
PLAIN_7B = QWEN_32B | {  # Qwen/Qwen2.5-7B-Instruct, config.json
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "torch_dtype": "bfloat16",
    "quantization_config": None,
}
WORK = Work(rank=8, targets=TARGETS, tokens=513, batch_size=1, dropout=0.0, adapters=9, free_text=False)
V100 = Capacity(
    worker="gpu0@volta",
    queues=("train", "infer"),
    device="cuda",
    name="Tesla V100-SXM2-32GB",
    memory=32 * GIB,
    capability=(7, 0),
    stacks=("volta",),
    roles={"train": "volta", "transformers": "volta", "vllm": "volta"},
)


def need(config: dict[str, Any], role: str = TRAIN, engine: str = "transformers", **base: Any) -> Need:
    model = BaseModel("org/base", None, "/base", "d" * 64)
    return Need(role, PlannedBase("", model, engine, {}, {}, **base), WORK, architecture(config))


@pytest.mark.parametrize(("config", "billions"), [(QWEN_32B, 32.76), (QWEN_72B, 72.71), (PLAIN_7B, 7.61)])
def test_parameters_are_those_that_are_published(config: dict[str, Any], billions: float) -> None:
    """As the model cards give them; biases and norms, under 0.01 %, are left out."""
    assert architecture(config).parameters / 1e9 == pytest.approx(billions, rel=0.002)


@pytest.mark.parametrize(("config", "gigabytes"), [(QWEN_32B, 19.3), (QWEN_72B, 41.6), (PLAIN_7B, 15.2)])
def test_weights_are_as_large_as_the_published_files(config: dict[str, Any], gigabytes: float) -> None:
    assert architecture(config).packed_bytes() / 1e9 == pytest.approx(gigabytes, rel=0.01)
    assert architecture(config, stored=5).packed_bytes() > 1e10, "files that are not all there tell nothing"
    assert architecture(config, stored=10**12).packed_bytes() == 10**12


def test_the_32b_base_trains_and_answers_on_a_v100_and_the_72b_base_does_not() -> None:
    """The work that Nonet generalises: 26 to 30 GB of 32 in training, and 44 to 50 GB for the 72B base."""
    for role in (TRAIN, ANSWER):
        assert misfit(need(QWEN_32B, role), V100) is None
    for engine in ("transformers", "vllm"):
        assert misfit(need(QWEN_32B, ANSWER, engine), V100) is None
    ampere = replace(V100, name="A100-PCIE-32GB", capability=(8, 0))
    why = misfit(need(QWEN_72B, ANSWER), ampere)
    assert why is not None
    assert why.reason == "needs about 41.3 GiB to answer, and A100-PCIE-32GB has 32.0 GiB"
    assert (why.needed or 0) / 1e9 == pytest.approx(44, abs=0.5)
    assert misfit(need(QWEN_72B, ANSWER), replace(ampere, memory=80 * GIB)) is None


def test_awq_on_a_v100_is_refused_with_the_remedy() -> None:
    why = misfit(need(QWEN_72B), replace(V100, memory=80 * GIB))
    assert why is not None
    assert "compute capability 7.0, AWQ's kernels need 7.5: take the base's GPTQ quantisation" in why.reason
    assert misfit(need(QWEN_72B), replace(V100, memory=80 * GIB, capability=(7, 5))) is None


def test_bfloat16_on_a_v100_is_refused_with_the_remedy() -> None:
    """Asked for, or because vLLM takes the base's own; the transformers engine computes in float16 on a GPU."""
    for refused in (need(PLAIN_7B, dtype="bfloat16"), need(PLAIN_7B, ANSWER, "vllm")):
        why = misfit(refused, V100)
        assert why is not None
        assert "bfloat16 needs 8.0: write dtype: float16 under the base" in why.reason
        assert misfit(refused, replace(V100, capability=(8, 0))) is None
    for taken in (need(PLAIN_7B), need(PLAIN_7B, ANSWER, "vllm", dtype="float16"), need(PLAIN_7B, ANSWER)):
        assert misfit(taken, V100) is None


def test_a_stack_that_is_not_there_is_named() -> None:
    why = misfit(need(QWEN_32B, stacks=Stacks(train="gpu")), V100)
    assert why is not None
    assert why.reason == "has no stack gpu, only volta"
    assert misfit(need(QWEN_32B, ANSWER, stacks=Stacks(train="gpu")), V100) is None, "it answers with its own"


def test_what_grows_costs_more() -> None:
    base = architecture(QWEN_32B)

    def train(**changes: Any) -> float:
        return training_memory(base, replace(WORK, **changes), "cuda").total

    def answer(**changes: Any) -> float:
        return answering_memory(base, replace(WORK, **changes), "vllm", "cuda").total

    assert train() < train(tokens=1025) < train(tokens=1025, batch_size=4)
    assert train() < train(rank=64) < train(rank=64, dropout=0.1)
    assert answer() < answer(adapters=20) < answer(adapters=20, rank=64)


def test_a_resident_base_takes_its_plain_weights() -> None:
    base = architecture(QWEN_32B)
    assert training_memory(base, WORK, "cpu").weights == base.parameters * 4
    assert training_memory(base, WORK, "cpu", "bfloat16").weights == base.parameters * 2
    cpu = replace(V100, device="cpu", capability=None, memory=64 * GIB)
    assert misfit(need(QWEN_32B), cpu) is not None
    assert misfit(need(QWEN_32B, ANSWER), cpu) is None, "on a CPU it answers from packed weights where it must"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hidden_size": None}, "no hidden_size"),
        ({"num_experts": 60}, "mixture of experts"),
        ({"vocab_size": "many"}, "no vocab_size"),
    ],
)
def test_what_cannot_be_estimated_is_said(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        architecture(QWEN_32B | change)


def test_an_unknown_base_is_not_refused_for_its_memory() -> None:
    unknown = replace(need(QWEN_32B), architecture=None)
    assert unknown.memory("cuda") is None
    assert misfit(unknown, replace(V100, memory=1)) is None


def test_a_capacity_comes_back_from_its_json() -> None:
    assert capacity_from_json(V100.to_json()) == V100
    assert isinstance(architecture(QWEN_32B), Architecture)
