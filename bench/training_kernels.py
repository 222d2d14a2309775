"""Nonet's Triton kernels on the GPU at hand: whether they compute what torch does, and how fast they move memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

from bench.matrix_peak import wait
from models.make.random_base import GROUP


def checked(device: str, dtype: Any) -> Iterator[str]:
    """Lines of what was compared; raises AssertionError where a kernel is wrong."""
    import torch

    from nonet.bases import lean_layers, triton_layers

    for order, group, bits in ((False, 128, 4), (True, 128, 4), (False, 32, 4), (False, 64, 2), (True, 64, 8)):
        weight = random_weight(512, 384, device, bits=bits, group=group, order=order)
        assert torch.equal(weight.unpack(dtype), weight.plain(dtype)), f"{bits} bits, group {group}, order {order}"
    yield "dequantise kernel: equal to torch's to the bit (4, 2, 8 bits; groups 128, 64, 32; act-order or not)"
    x, dy = (torch.randn(300, 5120, device=device).to(dtype) for _ in range(2))
    scale = torch.rand(5120, device=device).to(dtype)
    wide = x.double(), dy.double(), scale.double()
    y, inverse = triton_layers.norm(x, scale, 1e-6)
    true_y, true_inverse = _plain_norm(wide[0], wide[2])
    dx = triton_layers.norm_gradient(dy, x, scale, inverse)
    true_dx = lean_layers.norm_gradient(wide[1].cpu(), wide[0].cpu(), wide[2].cpu(), true_inverse.cpu()).to(device)
    dgate, dup = triton_layers.gated_gradient(dy, x, x)
    true = lean_layers.gated_gradient(*(tensor.double().cpu() for tensor in (dy, x, x)))
    gate = torch.nn.functional.silu(wide[0]) * wide[0]
    pairs = {
        "norm": (y, true_y),
        "norm gradient": (dx, true_dx),
        "gated": (triton_layers.gated(x, x), gate),
        "gate gradient": (dgate, true[0].to(device)),
        "up gradient": (dup, true[1].to(device)),
    }
    for name, (found, expected) in pairs.items():
        off = float((found.double() - expected).abs().max() / expected.abs().max())
        assert off < 2 * torch.finfo(dtype).eps, f"{name}: off by {off:.1e}"
        yield f"{name} kernel: off by {off:.1e} of the largest number (one rounding: {torch.finfo(dtype).eps / 2:.1e})"


def dequantising(device: str, dtype: Any, inputs: int, outputs: int) -> str:
    """How long a weight takes to unpack, and the memory that this moves a second."""
    weight = random_weight(inputs, outputs, device)
    seconds = timed(lambda: weight.unpack(dtype), device)
    moved = weight.qweight.numel() * 4 + inputs * outputs * dtype.itemsize
    return f"{inputs} x {outputs}: {seconds * 1e6:.0f} us, {moved / seconds / 1e9:.0f} GB/s"


def random_weight(
    inputs: int, outputs: int, device: str, *, bits: int = 4, group: int = GROUP, order: bool = False
) -> Any:
    """A packed weight of random numbers."""
    import torch

    from nonet.bases.packed_weight import packed_weight

    per, groups = 32 // bits, inputs // group

    def words(rows: int, columns: int) -> Any:
        return torch.randint(-(2**31), 2**31, (rows, columns), device=device).to(torch.int32)

    g_idx = torch.arange(inputs, device=device) // group
    if order:
        g_idx = g_idx[torch.randperm(inputs, device=device)]
    return packed_weight(
        words(inputs // per, outputs),
        words(groups, outputs // per),
        (torch.rand(groups, outputs, device=device) / 64).half(),
        g_idx.to(torch.int32),
        bits,
        stored_less_one=False,
    )


def timed(work: Callable[[], Any], device: str, runs: int = 10) -> float:
    """Seconds of `work`, median, the first runs left out."""
    import time

    for _ in range(3):
        work()
    seconds = []
    for _ in range(runs):
        wait(device)
        begun = time.perf_counter()
        work()
        wait(device)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def _plain_norm(x: Any, weight: Any) -> tuple[Any, Any]:
    import torch

    inverse = torch.rsqrt(x.pow(2).mean(-1) + 1e-6)
    return x * inverse[:, None] * weight, inverse
