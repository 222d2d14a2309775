"""One product of a frozen linear module and the adapters of a bank, for GPUs: few passes over the large tensors.

All adapters' A are one matrix, all B another: `y = x W + (select ∘ (x Aᵗ)) Bᵗ`, where `select` [tokens, slots * rank]
is the scale of a token's own adapter in its columns and 0 in those of others. So thin matrices become one that fills
the tensor cores (Chen et al. 2023, "Punica", arXiv:2310.18547, have a kernel for the same), LoRA is added into the
base's product and its gradient in place, and autograd keeps `x` and the thin product. An adapter's zeros add nothing to
others; what is not finite in one would, so whoever trains looks at each loss before it goes back. Computes in the
numbers of `x`, gradients of A and B in float32. Knows no bank and no routes.
"""

from __future__ import annotations

from functools import cache
from typing import Any


def fuses(module: Any, x: Any) -> bool:
    """Whether the product of `module` and `x` is to be made here: on a GPU, in 16 bits, by a layer that is known."""
    return bool(x.is_cuda) and x.element_size() == 2 and knows(module)


def knows(module: Any) -> bool:
    """Whether `module` is a linear layer whose weight is at hand: torch's own or a packed one."""
    from torch import nn

    from nonet.bases.packed_linear import packed_linear_type

    return type(module) is nn.Linear or isinstance(module, packed_linear_type())


def lora_product(module: Any, x: Any, a: Any, b: Any, select: Any) -> Any:
    """What `module` and the adapters make of `x` [..., in]: [..., out].

    `a` [slots, rank, in] and `b` [slots, out, rank] have gradients; `select` [tokens, slots * rank] is in the numbers
    of `x`, tokens counted over all its rows.
    """
    rows = x.reshape(-1, x.shape[-1])
    y = _function()(rows, module, a, b, select)
    return y.view(*x.shape[:-1], y.shape[-1])


def _weight(module: Any, dtype: Any) -> Any:
    """[in, out]; of a packed linear valid until the next is unpacked."""
    packed = getattr(module, "packed", None)
    return module.weight.t() if packed is None else packed.unpack(dtype)


def _widens(module: Any) -> bool:
    """Whether the module is packed and has more outputs than inputs: then what is as wide as its outputs should be gone
    over as seldom as can be.
    """
    packed = getattr(module, "packed", None)
    return packed is not None and packed.outputs > packed.inputs


def _joined(module: Any, columns: Any) -> Any:
    """W of a packed linear and B of all adapters, `columns` [out, slots * rank], below it: [in + slots * rank, out]."""
    packed = module.packed
    joined = packed.unpack(columns.dtype, below=columns.shape[1])
    joined[packed.inputs :].copy_(columns.t())
    return joined


def _wide(one: Any, other: Any) -> Any:
    """The product of two 16-bit matrices in float32 (summed and left in it, where torch can)."""
    import torch

    if one.is_cuda and one.element_size() == 2:
        try:
            return torch.mm(one, other, out_dtype=torch.float32)
        except (TypeError, RuntimeError):
            pass  # torch before 2.8
    product = one @ other
    return product if product.element_size() >= 4 else product.float()


@cache
def _function() -> Any:
    import torch

    class LoraProduct(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, module: Any, a: Any, b: Any, select: Any) -> Any:
            thin = (x @ _rows(a, x.dtype).t()).mul_(select)
            columns = _columns(b, x.dtype)
            if _widens(module):
                y = _affine(torch.cat((x, thin), dim=1), _joined(module, columns), module.bias)
            else:
                y = _affine(x, _weight(module, x.dtype), module.bias)
                y.addmm_(thin, columns.t())
            ctx.module = module
            ctx.save_for_backward(x, thin, a, b, select)
            return y

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> tuple[Any, ...]:
            x, thin, a, b, select = ctx.saved_tensors
            gradient = gradient.contiguous()
            slots, rank, outputs = a.shape[0], a.shape[1], b.shape[1]
            columns, dx = _columns(b, x.dtype), None
            if ctx.needs_input_grad[0] and _widens(ctx.module):
                dx, dthin = (gradient @ _joined(ctx.module, columns).t()).split((x.shape[1], slots * rank), dim=1)
            else:
                dthin = gradient @ columns
                if ctx.needs_input_grad[0]:
                    dx = gradient @ _weight(ctx.module, x.dtype).t()
            dthin = dthin * select
            if dx is not None:
                dx.addmm_(dthin, _rows(a, x.dtype))
            da = db = None
            if ctx.needs_input_grad[2]:
                da = _wide(dthin.t(), x).view(a.shape).to(a.dtype)
            if ctx.needs_input_grad[3]:
                db = _wide(gradient.t(), thin).view(outputs, slots, rank).transpose(0, 1).to(b.dtype)
            return dx, None, da, db, None

    def _affine(x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight if bias is None else torch.addmm(bias.to(x.dtype), x, weight)

    def _rows(a: Any, dtype: Any) -> Any:
        """A of all slots, [slots * rank, in]."""
        return a.reshape(-1, a.shape[-1]).to(dtype)

    def _columns(b: Any, dtype: Any) -> Any:
        """B of all slots, [out, slots * rank]."""
        return b.to(dtype).transpose(0, 1).reshape(b.shape[1], -1)

    return LoraProduct.apply
