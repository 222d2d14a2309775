"""Run by the Python of a stack: lean layers and fused LoRA products beside the plain ones, forward and gradient.

    lean_reference.py torch BASE | lean_reference.py triton

Prints JSON. `torch`: over the base with three adapters whose tokens alternate, plain and packed: differences of the
outputs and of gradients between the plain way and the one for GPUs (here on a CPU, in float32), bytes kept for the
backward pass by both, tensors of a gate's size that are kept without recomputation and with it, and the gradients of
the lean functions beside numerical ones in float64, and nonet.adapters.adam beside torch's. `triton`: the kernels,
interpreted, beside torch's functions on random numbers. Differences are relative to the largest number there is.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any
from unittest import mock

import torch

from nonet.adapters import lora, lora_product
from nonet.adapters.training import recompute_activations
from nonet.bases import lean_layers, triton_layers
from tests.integration.adam_reference import alike


def by_torch(path: str) -> dict[str, Any]:
    from nonet.bases.base import Form, load_base

    told = {form.value: adapted(load_base(path, "cpu", form).model) for form in Form}
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(3, 8, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weight = torch.rand(8, generator=draw, dtype=torch.float64)
    functions = lean_layers.functions()
    numerical = torch.autograd.gradcheck(lambda x: functions.norm(x, weight, 1e-6), (x,))
    numerical &= torch.autograd.gradcheck(functions.gated, (x, y))
    return told | {"numerical": numerical, "adam": alike()}


def adapted(model: Any) -> dict[str, Any]:
    """Three adapters over `model`, spans of tokens of two rows to each: the plain way, lean, and fused with it."""
    bank = lora.LoraBank(model, lora.LoraShape(4, 0.0, ("q_proj", "o_proj", "up_proj", "down_proj")), 3)
    draw = torch.Generator().manual_seed(0)
    for slot in range(3):
        fresh = lora.fresh_weights(bank.modules, 4, slot)
        drawn = {name: torch.randn(weight.shape, generator=draw) / 20 for name, weight in fresh.items()}
        bank.fill(slot, drawn, scale=2.0 + slot)
    ids = torch.randint(0, 1000, (2, 30), generator=draw)
    spans = [lora.Span(2, 0, 20), lora.Span(0, 20, 31), lora.Span(2, 31, 40), lora.Span(1, 40, 60)]

    def step() -> tuple[Any, list[Any], int]:
        kept: dict[int, int] = {}

        def keep(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        bank.clear_gradients()
        with bank.worn(), bank.routed(spans):
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                logits = model(ids).logits
            logits.pow(2).sum().backward()
        gradients = [window.grad.clone() for slot in range(3) for window in bank.parameters(slot).values()]
        return logits.detach(), gradients, sum(kept.values())

    plain = step()
    with mock.patch.object(lora, "fuses", lambda module, x: lora_product.knows(module)), lean_layers.lean(model):
        fused = step()
    again = step()
    assert torch.equal(again[0], plain[0]), "the model is as it was"
    apart = [difference(one, other) for one, other in zip(fused[1], plain[1], strict=True)]
    with bank.worn(), bank.routed(spans):
        outliving = [gates_outliving(model, ids, recompute) for recompute in (False, True)]
    told = {"output": difference(fused[0], plain[0]), "gradient": max(apart), "kept": [plain[2], fused[2]]}
    return told | {"gates_outliving": outliving}


def gates_outliving(model: Any, ids: Any, recompute: bool) -> int:
    """Tensors of a gate's size that a forward over lean layers leaves for the backward pass."""
    width = model.config.intermediate_size

    def alive() -> int:
        found = (each for each in gc.get_objects() if type(each) is torch.Tensor and each.shape[-1:] == (width,))
        return sum(each.numel() == ids.numel() * width for each in found)

    if recompute:
        recompute_activations(model)
        model.train()
    try:
        with lean_layers.lean(model):
            before = alive()
            logits = model(ids).logits
            found = alive() - before
        del logits
    finally:
        model.gradient_checkpointing_disable()
        model.eval()
    return found


def by_triton() -> dict[str, Any]:
    draw = torch.Generator().manual_seed(0)
    apart = {}
    for width in (96, 256):
        x, dy, other = (torch.randn(7, width, generator=draw) for _ in range(3))
        weight = torch.rand(width, generator=draw) + 0.5
        y, inverse = triton_layers.norm(x, weight, 1e-6)
        expected, expected_inverse = lean_layers.norm(x, weight, 1e-6)
        dx = triton_layers.norm_gradient(dy, x, weight, inverse)
        found = (y, inverse, dx, triton_layers.gated(x, other), *triton_layers.gated_gradient(dy, x, other))
        wanted = (
            expected,
            expected_inverse,
            lean_layers.norm_gradient(dy, x, weight, inverse),
            lean_layers.gated(x, other),
            *lean_layers.gated_gradient(dy, x, other),
        )
        apart[width] = max(difference(one, two) for one, two in zip(found, wanted, strict=True))
    return {"apart": max(apart.values())}


def difference(found: Any, expected: Any) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def main() -> None:
    print(json.dumps(by_torch(sys.argv[2]) if sys.argv[1] == "torch" else by_triton()))


if __name__ == "__main__":
    main()
