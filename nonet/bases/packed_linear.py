"""A linear layer over a packed weight, with gradients for its input: autograd keeps the packed integers and no numbers.

The weight is unpacked to what the input computes in, multiplied by the platform's own dense product, and let go; for
the gradient it is unpacked again. So training needs the memory of the packed weights and of one unpacked one (Dettmers
et al. 2023, arXiv:2305.14314, do the same with NF4). Knows how to take the place of the quantised layers of a loaded
model (GPTQModel's and auto-gptq's), and to give it back. Knows no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from nonet.bases.packed_weight import PackedWeight, Scratch, packed_weight

_PARTS = ("qweight", "qzeros", "scales", "g_idx")


def packed_linear(weight: PackedWeight, bias: Any = None) -> Any:
    """A torch module that computes x @ weight + bias, frozen; `bias` [out] or None."""
    return _class()(weight, bias)


def take_over(model: Any) -> Mapping[str, Any]:
    """Put a packed linear in the place of every quantised layer of `model`; returns what was there, by name.

    The tensors are shared, not copied, but for the zero points. Raises ValueError for a layer whose kernel has packed
    its weights in another way (Marlin, Machete, …): load the base with the kernel "torch" then.
    """
    scratch = Scratch()
    replaced = {name: module for name, module in model.named_modules() if _is_quantised(module)}
    linears = {name: _of_layer(name, module, scratch) for name, module in replaced.items()}
    for name, linear in linears.items():
        set_module(model, name, linear)
    return replaced


def give_back(model: Any, replaced: Mapping[str, Any]) -> None:
    """Undo `take_over`."""
    for name, module in replaced.items():
        set_module(model, name, module)


@contextmanager
def packed_linears(model: Any) -> Iterator[Any]:
    """`model` with packed linears in the place of its quantised layers, and as it was afterwards."""
    replaced = take_over(model)
    try:
        yield model
    finally:
        give_back(model, replaced)


def set_module(model: Any, name: str, module: Any) -> None:
    """Make `module` the submodule of `model` called `name` ("layers.0.mlp.up_proj")."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)


def packed_linear_type() -> Any:
    """The class of what `packed_linear` makes, for those who ask for types (peft's custom modules)."""
    return _class()


def _is_quantised(module: Any) -> bool:
    return all(getattr(module, part, None) is not None for part in _PARTS[:3]) and not isinstance(module, _class())


def _of_layer(name: str, module: Any, scratch: Scratch) -> Any:
    tensors = {part: getattr(module, part, None) for part in _PARTS}
    stored_less_one = module.qzero_format() == 1 if hasattr(module, "qzero_format") else True
    try:
        weight = packed_weight(**tensors, bits=module.bits, stored_less_one=stored_less_one, scratch=scratch)
        inputs = getattr(module, "in_features", None) or module.infeatures
        outputs = getattr(module, "out_features", None) or module.outfeatures
        if (weight.inputs, weight.outputs) != (inputs, outputs):
            raise ValueError(f"a weight of {weight.inputs} by {weight.outputs} in a layer of {inputs} by {outputs}")
    except (ValueError, AttributeError) as error:
        kernel = f"{type(module).__module__}.{type(module).__qualname__}"
        raise ValueError(f"{name}: {kernel} does not keep its weight as GPTQ packs it ({error})") from None
    return packed_linear(weight, module.bias)


@cache
def _class() -> Any:
    import torch
    from torch import nn

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: PackedWeight, bias: Any) -> Any:
            ctx.weight = weight
            numbers = weight.unpack(x.dtype)
            return x @ numbers if bias is None else torch.addmm(bias.to(x.dtype), x, numbers)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> tuple[Any, None, None]:
            return gradient @ ctx.weight.unpack(gradient.dtype).t(), None, None

    class PackedLinear(nn.Module):
        """See nonet.bases.packed_linear; frozen: it has buffers and no parameters."""

        def __init__(self, weight: PackedWeight, bias: Any) -> None:
            super().__init__()
            self.bits, self.group = weight.bits, weight.group
            self.in_features, self.out_features = weight.inputs, weight.outputs
            self.infeatures, self.outfeatures = weight.inputs, weight.outputs  # by these names peft knows it
            self.scratch = weight.scratch
            for part in _PARTS:
                self.register_buffer(part, getattr(weight, part), persistent=False)
            self.register_buffer("bias", None if bias is None else bias.detach(), persistent=False)

        @property
        def packed(self) -> PackedWeight:
            return PackedWeight(self.qweight, self.qzeros, self.scales, self.g_idx, self.bits, self.group, self.scratch)

        def forward(self, x: Any) -> Any:
            y = Product.apply(x.reshape(-1, self.in_features), self.packed, self.bias)
            return y.view(*x.shape[:-1], self.out_features)

        def extra_repr(self) -> str:
            return f"{self.in_features}, {self.out_features}, bits={self.bits}, group={self.group}"

    return PackedLinear
