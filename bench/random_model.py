"""A model of a full-size shape with random weights, made in memory: with packed linears or GPTQModel's layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from typing import Any

from models.make.random_base import GROUP, SHAPES, Shape, base_config, base_tensors
from nonet.bases.packed_linear import packed_linear_type, set_module
from nonet.bases.packed_model import packed_model
from nonet.bases.weights import quantisation


def shape_of(name: str, layers: int | None) -> Shape:
    """The shape called `name`, with so many of its layers (None: all)."""
    shape = SHAPES[name]
    return shape if layers is None else replace(shape, num_hidden_layers=layers)


def random_model(shape: Shape, device: str, dtype: Any, seed: int = 0) -> Any:
    """The model with packed linears; frozen, in evaluation mode."""
    import transformers

    config = base_config(shape)
    how = quantisation(config)
    assert how is not None
    settings = transformers.Qwen2Config(
        **{k: v for k, v in config.items() if k not in ("quantization_config", "torch_dtype")}
    )
    model = packed_model(settings, base_tensors(shape, seed, device), how, device, dtype)
    return model.requires_grad_(False).eval()


class Layers(StrEnum):
    """What linear layers a model has: GPTQModel's own, packed linears, or plain ones that were unpacked once."""

    STOCK = "stock"
    PACKED = "packed"
    RESIDENT = "resident"


@contextmanager
def with_layers(model: Any, kind: Layers, device: str, dtype: Any) -> Iterator[None]:
    """`model` with linear layers of this kind in the place of its packed ones."""
    if kind is Layers.STOCK:
        with stock_layers(model, device):
            yield
    elif kind is Layers.RESIDENT:
        with resident_layers(model, dtype):
            yield
    else:
        yield


@contextmanager
def stock_layers(model: Any, device: str) -> Iterator[str]:
    """`model` with GPTQModel's own layers over the same tensors in the place of packed linears; yields their class.

    The class is what GPTQModel takes where it is asked for a trainable kernel. Its torch.compile of each layer's
    unpacking is left out: it compiles eight of hundreds of layers, then torch gives up (its recompile limit).
    """
    ours = {name: module for name, module in model.named_modules() if isinstance(module, packed_linear_type())}
    kind = _kernel(device)
    for name, module in ours.items():
        try:
            set_module(model, name, _stock(kind, module))
        except Exception as error:
            print(f"{kind.__name__}: {type(error).__name__}: {error}; its TorchLinear", flush=True)
            kind = _torch_linear()
            set_module(model, name, _stock(kind, module))
    try:
        yield str(kind.__name__)
    finally:
        for name, module in ours.items():
            set_module(model, name, module)


@contextmanager
def resident_layers(model: Any, dtype: Any) -> Iterator[None]:
    """`model` with plain linears, unpacked once, in the place of packed ones."""
    from torch import nn

    ours = {name: module for name, module in model.named_modules() if isinstance(module, packed_linear_type())}
    for name, module in ours.items():
        linear = nn.Linear(1, 1, bias=False)
        linear.in_features, linear.out_features = module.in_features, module.out_features
        linear.weight = nn.Parameter(module.packed.plain(dtype).t().contiguous(), requires_grad=False)
        if module.bias is not None:
            linear.bias = nn.Parameter(module.bias.to(dtype), requires_grad=False)
        set_module(model, name, linear)
    try:
        yield
    finally:
        for name, module in ours.items():
            set_module(model, name, module)


@contextmanager
def first_layers(model: Any, count: int) -> Iterator[None]:
    """`model` with its first `count` layers only."""
    from torch import nn

    whole = model.model.layers
    model.model.layers, model.config.num_hidden_layers = nn.ModuleList(list(whole)[:count]), count
    try:
        yield
    finally:
        model.model.layers, model.config.num_hidden_layers = whole, len(whole)


def _kernel(device: str) -> Any:
    if device == "cpu":
        return _torch_linear()  # what Nonet asks for there; "auto_trainable" rounds activations
    try:
        import torch
        from gptqmodel.models._const import DEVICE
        from gptqmodel.utils.backend import BACKEND
        from gptqmodel.utils.importer import select_quant_linear

        return select_quant_linear(
            bits=4,
            group_size=GROUP,
            desc_act=False,
            sym=True,
            device=DEVICE.CUDA,
            backend=BACKEND.AUTO_TRAINABLE,
            pack_dtype=torch.int32,
        )
    except Exception as error:
        print(f"GPTQModel chose no kernel ({type(error).__name__}: {error}): its TorchLinear", flush=True)
        return _torch_linear()


def _torch_linear() -> Any:
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear

    return TorchLinear


def _stock(kind: Any, module: Any) -> Any:
    import torch

    options: Mapping[str, Any] = {"bias": module.bias is not None, "pack_dtype": torch.int32, "register_buffers": True}
    with torch.device("meta"):
        layer = kind(
            bits=module.bits,
            group_size=module.group,
            sym=True,
            desc_act=False,
            in_features=module.in_features,
            out_features=module.out_features,
            **options,
        )
    g_idx = torch.arange(module.in_features, dtype=torch.int32, device=module.qweight.device) // module.group
    tensors = {"qweight": module.qweight, "qzeros": module.qzeros, "scales": module.scales, "g_idx": g_idx}
    if module.bias is not None:
        tensors["bias"] = module.bias
    for name, tensor in tensors.items():
        layer.register_buffer(name, tensor)
    layer.infeatures, layer.outfeatures = module.in_features, module.out_features  # peft then asks no further
    layer.optimized = True
    layer.qzero_format(format=2)
    layer.post_init()
    return layer
