"""A LoRA bank beside peft's own modules, over a random model in float64 and over the demo's packed base."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.compute_rig import BASE, run_in_stack

pytestmark = pytest.mark.timeout(300)


def check(measured: Any) -> None:
    for name in ("plain", "dropout"):
        assert measured[name]["output"] < 1e-12, (name, measured)
        assert measured[name]["gradient"] < 1e-12, (name, measured)
        assert measured[name]["base"] == 0, "the base is as it was, once the bank is taken off"
        assert measured[name]["effect"] > 0.01, "adapters that do nothing would agree, too"
    assert measured["packed"]["packed"] == 7 * 8
    assert measured["packed"]["output"] < 1e-5, measured
    assert measured["packed"]["effect"] > 0.01, measured


def test_a_bank_computes_what_each_adapter_computes_alone() -> None:
    check(run_in_stack("cpu", "lora_reference.py", BASE))


@pytest.mark.stacks
def test_a_bank_computes_the_same_in_a_v100s_stack() -> None:
    check(run_in_stack("volta-cpu", "lora_reference.py", BASE))
