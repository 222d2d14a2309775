"""nonet.adapters.adam beside torch's own clipping and AdamW, some steps of random gradients; by a stack's Python."""

from __future__ import annotations

import torch

from nonet.adapters.adam import Adam

STEPS, TENSORS = 4, 30


def alike() -> list[bool]:
    """By step: whether the norms and all weights are the same to the bit."""
    draw = torch.Generator().manual_seed(0)
    theirs = [torch.randn(8, 3 + at, generator=draw) for at in range(TENSORS)]
    ours = {str(at): weight.clone() for at, weight in enumerate(theirs)}
    stock, adam = torch.optim.AdamW(theirs, weight_decay=0.0, fused=True), Adam(ours)
    found = []
    for step in range(STEPS):
        rate = 1e-3 / (step + 1)
        for one, other in zip(theirs, ours.values(), strict=True):
            one.grad = torch.randn(one.shape, generator=draw) * 10 ** (step - 2)  # norms below and above the limit
            other.grad = one.grad.clone()
        norm = torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        stock.param_groups[0]["lr"] = rate
        stock.step()
        found.append(bool(norm == adam.clip(1.0)))
        adam.step(rate)
        found[-1] &= all(torch.equal(one, other) for one, other in zip(theirs, ours.values(), strict=True))
    return found
