"""Which adapters are A, B and one scale, so that tree scoring may wear them without peft."""

from __future__ import annotations

from typing import Any

import pytest

from nonet.engines.adapter_files import AdapterFiles

TRAINED: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 8,
    "lora_alpha": 32,
    "target_modules": ["q_proj"],
    "bias": "none",
    "init_lora_weights": True,
    "use_rslora": False,
    "rank_pattern": {},
    "layers_to_transform": None,
    "peft_version": "0.21.2",
    "megatron_core": "megatron.core",
}


def test_what_nonet_trains_is_plain() -> None:
    files = AdapterFiles("folder", TRAINED, {})
    assert files.is_plain
    assert files.scale == 4.0


@pytest.mark.parametrize(
    "change",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"alpha_pattern": {"q_proj": 16}},
        {"layers_to_transform": [0]},
        {"bias": "lora_only"},
        {"init_lora_weights": "pissa"},
        {"of_a_later_peft": "something"},
    ],
)
def test_everything_else_is_left_to_peft(change: dict[str, Any]) -> None:
    assert not AdapterFiles("folder", TRAINED | change, {}).is_plain
