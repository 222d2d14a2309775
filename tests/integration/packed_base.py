"""Run by the Python of a stack: a training step over a base with packed linears, and over the same base resident.

    packed_base.py BASE

Prints JSON: both losses, the largest relative difference of two gradients, and what autograd kept of the packed one's
weights: bytes of the tensors saved for the backward pass that are as large as a weight.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch

from nonet.adapters.recipe import Recipe
from nonet.adapters.training import Lesson, answer_loss, fresh_adapter
from nonet.bases.base import Form, load_base
from nonet.bases.stack import linear_layers

LESSONS = (Lesson(tuple(range(1, 80)), (5,)), Lesson(tuple(range(30, 90)), (7,)))


def step(path: str, form: Form) -> tuple[float, dict[str, Any], list[int], list[str]]:
    base = load_base(path, "cpu", form)
    wrapped = fresh_adapter(base.model, Recipe())
    with torch.no_grad():  # lora_B begins as 0: then nothing reaches lora_A
        for name, weight in sorted(wrapped.named_parameters()):
            if ".lora_B." in name:
                weight.copy_(torch.linspace(-0.1, 0.1, weight.numel()).view(weight.shape))
    known = {t.untyped_storage().data_ptr() for t in (*wrapped.parameters(), *wrapped.buffers())}
    kept: list[int] = []

    def keep(tensor: Any) -> Any:
        if tensor.untyped_storage().data_ptr() not in known:
            kept.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = answer_loss(wrapped, LESSONS, "cpu")
    loss.backward()
    gradients = {name: weight.grad for name, weight in wrapped.named_parameters() if weight.requires_grad}
    return float(loss.detach()), gradients, kept, linear_layers(wrapped)


def main() -> None:
    expected, expected_gradients, _, _ = step(sys.argv[1], Form.RESIDENT)
    found, gradients, kept, layers = step(sys.argv[1], Form.PACKED)
    apart = max(
        float((gradients[name] - gradient).abs().max() / gradient.abs().max())
        for name, gradient in expected_gradients.items()
    )
    print(
        json.dumps(
            {
                "losses": [found, expected],
                "apart": apart,
                "largest_kept": max(kept),
                "layers": layers,
                "imported": "gptqmodel" in sys.modules,
            }
        )
    )


if __name__ == "__main__":
    main()
