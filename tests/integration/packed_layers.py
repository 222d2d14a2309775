"""Run by the Python of a stack: packed linears beside a stock kernel's own layers, on random layers of every layout.

    packed_layers.py gptqmodel|auto-gptq|triton

Prints JSON: by layer, the largest differences of output and input gradient, relative to the largest number there is.
Random zero points of the layout "gptq" are stored as 0 to 14 (1 to 15 less one), as its writers leave them.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from nonet.bases.gptq import dequantised
from nonet.bases.packed_linear import packed_linear, packed_linears
from nonet.bases.packed_weight import packed_weight

INPUTS, OUTPUTS, ROWS = 256, 192, 5


@dataclass(frozen=True)
class Layout:
    """How a random layer is packed; `group` -1: one for all inputs."""

    group: int
    act_order: bool
    symmetric: bool
    stored_less_one: bool
    bits: int = 4


OTHER_BITS = (Layout(64, False, False, True, 2), Layout(64, True, False, False, 8))


def layouts(bits: int) -> Iterator[Layout]:
    for group, order, symmetric, less in itertools.product(
        (128, 64, 32, -1), (False, True), (True, False), (True, False)
    ):
        yield Layout(group, order, symmetric, less, bits)


def tensors(layout: Layout, seed: int = 0) -> dict[str, Any]:
    """qweight, qzeros, scales, g_idx and bias of a random layer."""
    draw = torch.Generator().manual_seed(seed)
    bits, size = layout.bits, INPUTS if layout.group < 0 else layout.group
    groups, top = INPUTS // size, 1 << layout.bits
    zero = torch.randint(1, top, (groups, OUTPUTS), generator=draw)
    if layout.symmetric:
        zero = torch.full_like(zero, top // 2)
    g_idx = torch.arange(INPUTS) // size
    if layout.act_order:
        g_idx = g_idx[torch.randperm(INPUTS, generator=draw)]
    return {
        "qweight": pack(torch.randint(0, top, (INPUTS, OUTPUTS), generator=draw).t(), bits).t().contiguous(),
        "qzeros": pack(zero - int(layout.stored_less_one), bits),
        "scales": (torch.rand(groups, OUTPUTS, generator=draw) / 64).half(),
        "g_idx": g_idx.to(torch.int32),
        "bias": torch.randn(OUTPUTS, generator=draw).half(),
    }


def pack(numbers: Any, bits: int) -> Any:
    """[rows, n] integers to [rows, n * bits / 32] words, low bits first."""
    per = 32 // bits
    fields = numbers.reshape(numbers.shape[0], -1, per).long() << (torch.arange(per) * bits)
    return ((fields.sum(-1) + 2**31) % 2**32 - 2**31).to(torch.int32)


def stock(library: str, layout: Layout, parts: dict[str, Any]) -> Any:
    """The library's own layer of these tensors; None where it has none."""
    if library == "gptqmodel":
        from gptqmodel.nn_modules.qlinear.torch import TorchLinear
        from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module

        layer = TorchLinear(layout.bits, layout.group, layout.symmetric, layout.act_order, INPUTS, OUTPUTS, bias=True)
        layer.optimized = True  # no torch.compile
    else:
        from auto_gptq.nn_modules.qlinear import qlinear_cuda, qlinear_cuda_old

        if not layout.stored_less_one:
            return None  # it knows the layout "gptq" only
        kind = qlinear_cuda if layout.act_order else qlinear_cuda_old  # the old one knows no order
        layer = kind.QuantLinear(layout.bits, layout.group, INPUTS, OUTPUTS, bias=True, trainable=True)
        layer.autogptq_cuda_available = False
    for name, tensor in parts.items():
        getattr(layer, name).copy_(tensor)
    if library == "gptqmodel":
        layer.qzero_format(format=1 if layout.stored_less_one else 2)
        if layout.stored_less_one:
            convert_gptq_v1_to_v2_format_module(layer, layout.bits, torch.int32)
        layer.post_init()
    return layer


def gradient(layer: Any, x: Any, weights: Any) -> tuple[Any, Any]:
    """Output, and gradient of a weighted sum of it by the input."""
    x = x.clone().requires_grad_()
    y = layer(x)
    (y * weights).sum().backward()
    return y.detach().float(), x.grad.float()


def difference(found: Any, expected: Any) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def compared(library: str, layout: Layout) -> dict[str, Any] | None:
    parts = tensors(layout)
    layer = stock(library, layout, parts)
    if layer is None:
        return None
    draw = torch.Generator().manual_seed(1)
    x, weights = (torch.randn(ROWS, size, generator=draw).half() for size in (INPUTS, OUTPUTS))
    expected = gradient(layer, x, weights)
    model = torch.nn.Sequential(layer)
    with packed_linears(model):
        found = gradient(model, x, weights)
        kept = type(model[0]).__name__
    assert model[0] is layer
    assert kept == "PackedLinear"
    return {"output": difference(found[0], expected[0]), "gradient": difference(found[1], expected[1])}


def triton(layout: Layout, dtype: Any) -> dict[str, Any]:
    """The kernel, interpreted, beside the numbers of `nonet.bases.gptq`: the largest difference of two numbers."""
    from nonet.bases.triton_dequantise import dequantise

    parts = tensors(layout)
    bias = parts.pop("bias")
    weight = packed_weight(**parts, bits=layout.bits, stored_less_one=layout.stored_less_one)
    out = torch.full((INPUTS, OUTPUTS), torch.nan, dtype=dtype)
    dequantise(out, weight.qweight, weight.qzeros, weight.scales, weight.g_idx, weight.bits, weight.group)
    plain = dequantised(**parts, bits=layout.bits, stored_less_one=layout.stored_less_one).t()
    assert torch.equal(weight.plain(dtype), plain.to(dtype))
    assert packed_linear(weight, bias).out_features == OUTPUTS
    return {"numbers": float((out - plain.to(dtype)).abs().max())}


def main() -> None:
    library = sys.argv[1]
    rows = []
    if library == "triton":
        for layout in (*layouts(4), *OTHER_BITS):
            rows.append(asdict(layout) | triton(layout, torch.float16))
    else:
        for layout in (*layouts(4), *OTHER_BITS):
            found = compared(library, layout)
            if found is not None:
                rows.append(asdict(layout) | found)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
