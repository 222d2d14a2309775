"""Clipping and AdamW over the tensors of one adapter: torch's own kernels, called for all of its tensors at once.

Computes to the bit what torch.nn.utils.clip_grad_norm_ and torch.optim.AdamW(fused=True, weight_decay=0) do; these look
at every tensor by itself before they begin, which costs some milliseconds an adapter: with twelve adapters of 900
tensors a tenth of a step on a GPU. Knows no schedule. tests/integration/adam_reference.py has them side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
"""AdamW's defaults (Loshchilov and Hutter 2019, arXiv:1711.05101)."""


class Adam:
    """The optimizer of `weights`; its `state` is laid out as torch's, so that checkpoints are the same."""

    def __init__(self, weights: Mapping[str, Any]) -> None:
        import torch

        self._weights = list(weights.values())
        self.state: dict[Any, dict[str, Any]] = {
            weight: {
                "step": torch.zeros((), dtype=torch.float32, device=weight.device),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }
            for weight in self._weights
        }

    def clip(self, most: float) -> Any:
        """Scale all gradients so that their common norm is at most `most`; returns what it was, a tensor."""
        import torch

        gradients = [weight.grad for weight in self._weights]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, 2.0)), 2.0)
        torch._foreach_mul_(gradients, torch.clamp(most / (norm + 1e-6), max=1.0))
        return norm

    def step(self, rate: float) -> None:
        """One step by the gradients of now."""
        import torch

        states = [self.state[weight] for weight in self._weights]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        with torch.no_grad():
            torch._fused_adamw_(
                self._weights,
                [weight.grad for weight in self._weights],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                amsgrad=False,
                lr=rate,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                weight_decay=0.0,
                eps=_EPSILON,
                maximize=False,
            )
