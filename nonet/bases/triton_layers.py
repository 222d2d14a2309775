"""Triton kernels of the layers between matrix products: RMSNorm and SwiGLU, forward and backward, one pass each.

Knows Triton only; `nonet.bases.lean_layers` says what is computed. Works interpreted on a CPU, too
(TRITON_INTERPRET=1). No `from __future__ import annotations` here: Triton reads the annotations of the kernels.
"""

from functools import cache
from types import SimpleNamespace
from typing import Any

BLOCK = 1024
"""Numbers that one program of an elementwise kernel takes."""

tl: Any = None
"""triton.language, once the kernels are made: Triton looks for it among the globals of a kernel's module."""


def norm(x: Any, weight: Any, epsilon: float) -> tuple[Any, Any]:
    """RMSNorm of the rows of `x` [n, width], and float32 1 / root mean square of each [n]."""
    import torch

    rows, width = x.shape
    y, inverse = torch.empty_like(x), torch.empty(rows, dtype=torch.float32, device=x.device)
    made = _kernels()
    made.norm[(rows,)](x, weight, y, inverse, width, epsilon, WIDTH=made.power(width), num_warps=8)
    return y, inverse


def norm_gradient(gradient: Any, x: Any, weight: Any, inverse: Any) -> Any:
    """Gradient by `x` of `norm`."""
    import torch

    rows, width = x.shape
    dx, made = torch.empty_like(x), _kernels()
    made.norm_gradient[(rows,)](gradient, x, weight, inverse, dx, width, WIDTH=made.power(width), num_warps=8)
    return dx


def gated(gate: Any, up: Any) -> Any:
    """silu(gate) * up, elementwise, of contiguous tensors."""
    import torch

    y, made = torch.empty_like(gate), _kernels()
    made.gated[(made.blocks(gate.numel(), BLOCK),)](gate, up, y, gate.numel(), BLOCK=BLOCK)
    return y


def gated_gradient(gradient: Any, gate: Any, up: Any) -> tuple[Any, Any]:
    """Gradients by `gate` and `up` of `gated`."""
    import torch

    dgate, dup, made = torch.empty_like(gate), torch.empty_like(up), _kernels()
    grid = (made.blocks(gate.numel(), BLOCK),)
    made.gated_gradient[grid](gradient, gate, up, dgate, dup, gate.numel(), BLOCK=BLOCK)
    return dgate, dup


@cache
def _kernels() -> Any:
    global tl
    import triton
    import triton.language as tl

    @triton.jit
    def norm(x_ptr, w_ptr, y_ptr, inverse_ptr, width, epsilon, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, WIDTH)
        there = at < width
        x = tl.load(x_ptr + row * width + at, mask=there, other=0.0).to(tl.float32)
        inverse = 1.0 / tl.sqrt(tl.sum(x * x, axis=0) / width + epsilon)
        tl.store(inverse_ptr + row, inverse)
        kind = y_ptr.dtype.element_ty
        w = tl.load(w_ptr + at, mask=there, other=0.0)
        y = (x * inverse).to(kind).to(tl.float32) * w.to(tl.float32)
        tl.store(y_ptr + row * width + at, y.to(kind), mask=there)

    @triton.jit
    def norm_gradient(dy_ptr, x_ptr, w_ptr, inverse_ptr, dx_ptr, width, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, WIDTH)
        there = at < width
        inverse = tl.load(inverse_ptr + row)
        x = tl.load(x_ptr + row * width + at, mask=there, other=0.0).to(tl.float32) * inverse
        dy = tl.load(dy_ptr + row * width + at, mask=there, other=0.0).to(tl.float32)
        dy = dy * tl.load(w_ptr + at, mask=there, other=0.0).to(tl.float32)
        dx = inverse * (dy - x * (tl.sum(dy * x, axis=0) / width))
        tl.store(dx_ptr + row * width + at, dx.to(dx_ptr.dtype.element_ty), mask=there)

    @triton.jit
    def gated(gate_ptr, up_ptr, y_ptr, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        there = at < count
        gate = tl.load(gate_ptr + at, mask=there, other=0.0).to(tl.float32)
        up = tl.load(up_ptr + at, mask=there, other=0.0).to(tl.float32)
        kind = y_ptr.dtype.element_ty
        open = (gate / (1.0 + tl.exp(-gate))).to(kind).to(tl.float32)
        tl.store(y_ptr + at, (open * up).to(kind), mask=there)

    @triton.jit
    def gated_gradient(dy_ptr, gate_ptr, up_ptr, dgate_ptr, dup_ptr, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        there = at < count
        dy = tl.load(dy_ptr + at, mask=there, other=0.0).to(tl.float32)
        gate = tl.load(gate_ptr + at, mask=there, other=0.0).to(tl.float32)
        up = tl.load(up_ptr + at, mask=there, other=0.0).to(tl.float32)
        half = 1.0 / (1.0 + tl.exp(-gate))
        kind = dup_ptr.dtype.element_ty
        tl.store(dup_ptr + at, (dy * (gate * half)).to(kind), mask=there)
        tl.store(dgate_ptr + at, (dy * up * half * (1.0 + gate * (1.0 - half))).to(kind), mask=there)

    return SimpleNamespace(
        norm=norm,
        norm_gradient=norm_gradient,
        gated=gated,
        gated_gradient=gated_gradient,
        power=triton.next_power_of_2,
        blocks=triton.cdiv,
    )
