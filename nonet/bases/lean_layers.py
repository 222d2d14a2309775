"""The layers between a decoder's matrix products, made to keep little for the backward pass and to take one pass each.

Knows RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467) and the MLP with SiLU gates (Shazeer 2020, arXiv:2002.05202)
of transformers' Llama, Mistral, Qwen2 and Qwen3: the forward pass rounds as theirs does, the backward pass once. Of a
norm its input is kept, of an MLP gate and up; the gated product is computed again where it is needed (selective
recomputation, after Korthikanti et al. 2022, arXiv:2205.05198). By Triton on a GPU, by torch elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

from nonet.bases.packed_weight import by_triton
from nonet.bases.stack import is_volta


def lean_on_gpu(model: Any) -> AbstractContextManager[Any]:
    """`lean` for a model on a GPU; on a CPU, and on a V100's stack, the model stays as it is."""
    return nullcontext(model) if model.device.type == "cpu" or is_volta() else lean(model)


@contextmanager
def lean(model: Any) -> Iterator[Any]:
    """`model` with lean norms and MLPs, and as it was afterwards. What it does not know it leaves alone."""
    changed = []
    for module in model.modules():
        forward = _forward(model, module)
        if forward is not None:
            changed.append((module, vars(module).get("forward")))
            module.forward = forward
    try:
        yield model
    finally:
        for module, before in changed:
            del module.forward
            if before is not None:
                module.forward = before


def _forward(model: Any, module: Any) -> Callable[[Any], Any] | None:
    """What takes the place of the forward of `module` in `model`, None where it stays."""
    from torch import nn

    if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
        return lambda x: functions().norm(x, module.weight, module.variance_epsilon)
    parts = all(hasattr(module, part) for part in ("gate_proj", "up_proj", "down_proj", "act_fn"))
    if parts and isinstance(module.act_fn, nn.SiLU | _silu()):
        return lambda x: _mlp(module, x, selective=not getattr(model, "is_gradient_checkpointing", False))
    return None


def _silu() -> Any:
    """transformers' own class of nn.SiLU, where it has one."""
    from transformers import activations

    return getattr(activations, "SiLUActivation", type(None))


def _mlp(module: Any, x: Any, *, selective: bool) -> Any:
    """down(silu(gate(x)) * up(x)), of which only gate and up are kept; not `selective`: without hooks of its own, since
    hooks do not nest, and those of a layer that is computed again keep nothing of it.
    """
    import torch

    gate, up = module.gate_proj(x), module.up_proj(x)
    product = functions().gated(gate, up)
    if not product.requires_grad or not selective:
        return module.down_proj(product)
    parts = gate.detach(), up.detach()
    place, count = product.data_ptr(), product.numel()

    def keep(tensor: Any) -> Any:
        mine = tensor.data_ptr() == place and tensor.numel() == count and tensor.dtype == gate.dtype
        return (parts, tensor.shape) if mine else tensor

    def bring(kept: Any) -> Any:
        return gated(*kept[0]).view(kept[1]) if isinstance(kept, tuple) else kept

    with torch.autograd.graph.saved_tensors_hooks(keep, bring):
        return module.down_proj(product)


def gated(gate: Any, up: Any) -> Any:
    """silu(gate) * up, elementwise; SiLU is rounded before the product, as transformers does it."""
    from torch.nn.functional import silu

    if by_triton(gate.device.type):
        from nonet.bases import triton_layers

        return triton_layers.gated(gate, up)
    return silu(gate).mul_(up)


def gated_gradient(gradient: Any, gate: Any, up: Any) -> tuple[Any, Any]:
    """Gradients by `gate` and by `up` of `gated`."""
    import torch

    if by_triton(gate.device.type):
        from nonet.bases import triton_layers

        return triton_layers.gated_gradient(gradient, gate, up)
    dgate = torch.ops.aten.silu_backward(gradient * up, gate)
    return dgate, torch.nn.functional.silu(gate).mul_(gradient)


def norm(x: Any, weight: Any, epsilon: float) -> tuple[Any, Any]:
    """RMSNorm of the rows of `x` [n, width], and 1 / root mean square of each in float32 (float64 of float64), [n]."""
    import torch

    if by_triton(x.device.type):
        from nonet.bases import triton_layers

        return triton_layers.norm(x, weight, epsilon)
    wide = x if x.dtype == torch.float64 else x.float()
    inverse = torch.rsqrt(torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(epsilon))
    return weight * (wide * inverse[:, None]).to(x.dtype), inverse


def norm_gradient(gradient: Any, x: Any, weight: Any, inverse: Any) -> Any:
    """Gradient by `x` of `norm`."""
    import torch

    if by_triton(x.device.type):
        from nonet.bases import triton_layers

        return triton_layers.norm_gradient(gradient, x, weight, inverse)
    scaled = (gradient * weight).to(inverse.dtype)
    unit = x.to(inverse.dtype) * inverse[:, None]
    mean = torch.linalg.vecdot(scaled, unit).div_(x.shape[-1])
    return torch.addcmul(scaled, unit, mean[:, None], value=-1).mul_(inverse[:, None]).to(x.dtype)


@cache
def functions() -> Any:
    """What autograd goes through: `norm(x, weight, epsilon)` and `gated(gate, up)`, of tensors [..., width]."""
    from types import SimpleNamespace

    import torch

    class Norm(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, epsilon: float) -> Any:
            rows = x.reshape(-1, x.shape[-1]).contiguous()
            y, inverse = norm(rows, weight, epsilon)
            ctx.save_for_backward(rows, weight, inverse)
            return y.view(x.shape)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> tuple[Any, None, None]:
            rows, weight, inverse = ctx.saved_tensors
            dx = norm_gradient(gradient.reshape(rows.shape).contiguous(), rows, weight, inverse)
            return dx.view(gradient.shape), None, None

    class Gated(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, gate: Any, up: Any) -> Any:
            gate, up = gate.contiguous(), up.contiguous()
            ctx.save_for_backward(gate, up)
            return gated(gate, up)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> tuple[Any, Any]:
            return gated_gradient(gradient.contiguous(), *ctx.saved_tensors)

    return SimpleNamespace(norm=Norm.apply, gated=Gated.apply)
