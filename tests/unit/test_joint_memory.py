"""What joint training needs, and what it does at once on the memory there is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nonet.adapters.recipe import TARGETS
from nonet.limits.joint_memory import MARGIN, JointSizes, joint_memory, joint_sizes
from nonet.limits.memory import GIB, Work, architecture
from tests.unit.test_memory import QWEN_32B

BASE = architecture(QWEN_32B)
WORK = Work(rank=8, targets=TARGETS, tokens=513, batch_size=1, dropout=0.0, adapters=12, free_text=False)


def total(sizes: JointSizes, device: str = "cuda") -> float:
    return joint_memory(BASE, WORK, sizes, device).total


def test_every_slot_costs_its_adapter_and_every_token_its_activations() -> None:
    one = JointSizes(12, 4096, False)
    adapter = 16 * BASE.lora(8, TARGETS)
    fewer = joint_memory(BASE, WORK, replace(one, slots=11), "cuda")
    assert joint_memory(BASE, WORK, one, "cuda").adapters - fewer.adapters == adapter
    kept = total(one) - total(replace(one, tokens=2048))
    a_token = 2 * (4 * 5120 + 4 * 5120 + 2 * 27648)  # bytes of a layer, without the thin products
    assert kept > 64 * 2048 * a_token
    assert total(replace(one, recompute=True)) < total(one) / 2


def test_more_tokens_than_all_slots_have_in_a_step_cost_nothing() -> None:
    assert total(JointSizes(2, 8192, False)) == total(JointSizes(2, 2 * 513, False))


@pytest.mark.parametrize("gigabytes", [24, 32, 40, 80, 141])
def test_the_choice_fits(gigabytes: int) -> None:
    sizes = joint_sizes(BASE, WORK, "cuda", gigabytes * GIB)
    assert sizes is not None
    assert total(sizes) <= MARGIN * gigabytes * GIB


def test_more_memory_recomputes_less() -> None:
    small, large = (joint_sizes(BASE, WORK, "cuda", size * GIB) for size in (32, 141))
    assert small is not None
    assert large is not None
    assert small.recompute, "a V100's 32 GiB: several adapters, their layers computed twice"
    assert small.slots > 1
    assert large == JointSizes(12, large.tokens, False), "all twelve, nothing computed twice"


def test_a_cpu_takes_all_adapters_and_few_tokens() -> None:
    base = architecture(
        QWEN_32B | {"hidden_size": 512, "num_hidden_layers": 12, "intermediate_size": 1664, "vocab_size": 2048}
    )
    sizes = joint_sizes(base, WORK, "cpu", 8 * GIB)
    assert sizes == JointSizes(12, 513, False)
    one = joint_memory(base, replace(WORK, adapters=1), replace(sizes, slots=1), "cpu").total
    assert joint_memory(base, WORK, sizes, "cpu").total < 2 * one


def test_nothing_fits_a_small_gpu() -> None:
    assert joint_sizes(BASE, WORK, "cuda", 16 * GIB) is None


def test_halving_ends_at_one_adapter_and_one_prompt() -> None:
    sizes: JointSizes | None = JointSizes(12, 4096, False)
    seen = []
    while sizes is not None:
        seen.append((sizes.slots, sizes.tokens, sizes.recompute))
        sizes = sizes.halved(513)
    assert seen == [
        (12, 4096, False),
        (12, 2048, False),
        (12, 1024, False),
        (12, 513, False),
        (12, 513, True),
        (6, 513, True),
        (3, 513, True),
        (1, 513, True),
    ]
