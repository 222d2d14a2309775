"""An adapter worn by a base of plain float32 numbers without a product of its own.

Knows torch's linear modules and peft's names. Each adapted module multiplies by W + B A alpha / rank, made when it is
used, in one place for all modules of a shape: no layer is kept twice, and W stays as it is. peft's way costs two thin
products and two passes over the output for every token, a tenth of the time on a CPU; the sum costs as much as some
twenty tokens. In 16 bits the sum would round the adapter away, and packed weights have no W: there peft wears it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from nonet.adapters.lora import file_name
from nonet.engines.adapter_files import AdapterFiles


def can_merge(model: Any, targets: Collection[str]) -> bool:
    """Whether all `targets` of `model` are plain float32 numbers."""
    import torch
    from torch import nn

    return all(
        type(module) is nn.Linear and module.weight.dtype == torch.float32
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in targets
    )


@contextmanager
def merged(model: Any, files: AdapterFiles) -> Iterator[Any]:
    """`model` wearing the adapter of `files`, for inference, and as it was afterwards."""
    import torch

    modules = [name for name, _ in model.named_modules() if file_name(name, "A") in files.weights]
    worn: list[Any] = []
    sums: dict[Any, Any] = {}
    try:
        for name in modules:
            module = model.get_submodule(name)
            a, b = (files.weights[file_name(name, which)].to(module.weight) for which in "AB")
            shape = module.weight.shape
            if shape not in sums:
                sums[shape] = torch.empty_like(module.weight)
            module.forward = _forward(module, a, b, files.scale, sums[shape])
            worn.append(module)
        yield model
    finally:
        for module in worn:
            del module.forward


def _forward(module: Any, a: Any, b: Any, scale: float, total: Any) -> Any:
    """`total` is where the sum is made, again and again: new memory for each costs as much as the sum."""
    import torch
    from torch.nn.functional import linear

    def forward(x: Any) -> Any:
        return linear(x, torch.addmm(module.weight, b, a, alpha=scale, out=total), module.bias)

    return forward
