"""A model whose linear layers are packed linears, built of a base's tensors as they come: no second copy of a weight.

Knows transformers' decoders and the layouts of GPTQ. Knows no files: `nonet.bases.base` brings the tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nonet.bases.packed_linear import packed_linear, packed_linear_type, set_module
from nonet.bases.packed_weight import Scratch, packed_weight
from nonet.bases.weights import PARTS, Quantisation

_PACKED = frozenset(PARTS["gptq"])


def packed_model(settings: Any, tensors: Iterable[tuple[str, Any]], how: Quantisation, device: str, dtype: Any) -> Any:
    """The causal language model of the transformers configuration `settings` with the weights `tensors`, on `device`.

    Packed modules become packed linears, all others are what transformers makes of them, in `dtype`. Raises ValueError
    where weights are missing or do not fit.
    """
    import torch
    import transformers

    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(settings)
    scratch = Scratch()
    waiting: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors:
        module, _, part = name.rpartition(".")
        if part in _PACKED:
            waiting.setdefault(module, {})[part] = tensor.to(device)
        else:
            _put(model, name, tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device))
        if len(waiting.get(module, ())) == len(_PACKED):
            parts = waiting.pop(module)
            try:
                weight = packed_weight(**parts, bits=how.bits, stored_less_one=how.stored_less_one, scratch=scratch)
            except ValueError as error:
                raise ValueError(f"{module}: {error}; fetch the base again") from None
            bias = model.get_submodule(module).bias  # its values may still be to come
            set_module(model, module, packed_linear(weight, bias))
    if waiting:
        module, parts = next(iter(waiting.items()))
        raise ValueError(f"{module} has {sorted(parts)}, expected {sorted(_PACKED)}; fetch the base again")
    model.tie_weights()
    _make_buffers(model, settings, device)
    missing = [name for name, tensor in _tensors_of(model) if tensor.is_meta]
    if missing:
        raise ValueError(f"the base lacks {len(missing)} weights, first {missing[0]}; fetch the base again")
    return model


def _put(model: Any, name: str, tensor: Any) -> None:
    """Make `tensor` the parameter or buffer `name`; raises ValueError where the model has no such place."""
    from torch import nn

    module, _, own = name.rpartition(".")
    try:
        owner = model.get_submodule(module)
        old = getattr(owner, own)
    except AttributeError:
        raise ValueError(f"the base has a weight {name} that its config.json has no place for") from None
    if tuple(old.shape) != tuple(tensor.shape):
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, config.json says {tuple(old.shape)}")
    setattr(owner, own, nn.Parameter(tensor, requires_grad=False) if isinstance(old, nn.Parameter) else tensor)


def _make_buffers(model: Any, settings: Any, device: str) -> None:
    """Make anew the modules whose buffers follow from the configuration (rotary embeddings)."""
    derived = [
        name
        for name, module in model.named_modules()
        if not isinstance(module, packed_linear_type()) and any(b.is_meta for b in module.buffers(recurse=False))
    ]
    for name in derived:
        set_module(model, name, type(model.get_submodule(name))(config=settings).to(device))


def _tensors_of(model: Any) -> Iterable[tuple[str, Any]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
