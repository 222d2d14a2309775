"""Pins of the stacks: what cannot be tested on this machine is pinned as what is."""

from __future__ import annotations

from pathlib import Path

import pytest

PINS = Path(__file__).resolve().parents[2] / "config" / "stacks"


def pins(stack: str) -> dict[str, str]:
    lines = (PINS / f"{stack}.txt").read_text("utf-8").splitlines()
    found = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): release for name, release in found.items()}


def test_volta_on_a_cpu_is_volta_but_for_torch() -> None:
    real, tested = pins("volta"), pins("volta-cpu")
    of_torch = {name for name in real if name in ("torch", "triton") or name.startswith("nvidia-")}
    assert {name: real[name] for name in real.keys() - of_torch} == {n: v for n, v in tested.items() if n != "torch"}


@pytest.mark.parametrize(("stack", "of"), [("gpu", "cpu"), ("vllm-gpu", "vllm-cpu")])
def test_what_a_gpu_stack_shares_with_its_cpu_stack_is_pinned_alike(stack: str, of: str) -> None:
    mine, tested = pins(stack), pins(of)
    differ = {name for name in mine.keys() & tested.keys() if mine[name] != tested[name]}
    assert differ <= {"torch", "triton", "setuptools", "apache-tvm-ffi", "xgrammar"}
