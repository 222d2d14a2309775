"""GPTQ weights: the packed integers of a quantised base as the plain numbers that they stand for.

Knows the two GPTQ layouts ("gptq", whose zero points are stored less one, and "gptq_v2") at 2, 4 and 8 bits, and the
safetensors files of a base. Knows no model: `nonet.base` puts the weights into one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKED = ("qweight", "qzeros", "scales", "g_idx")
_ONES = {2: 0x55555555, 4: 0x11111111, 8: 0x01010101}
"""One in every field of a 32-bit word, by bits a field."""


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How a base is quantised: `bits` a weight, and whether its zero points are stored less one."""

    bits: int
    stored_less_one: bool


def quantisation(config: Mapping[str, Any]) -> Quantisation | None:
    """What a base's config.json says of its quantisation, None where it has none; raises ValueError beside GPTQ."""
    settings = config.get("quantization_config")
    if settings is None:
        return None
    method = settings.get("quant_method")
    layout = settings.get("checkpoint_format", "gptq")
    bits = settings.get("bits")
    if method != "gptq" or layout not in ("gptq", "gptq_v2") or bits not in _ONES:
        raise ValueError(
            f"quantization_config: method {method!r}, layout {layout!r}, {bits!r} bits; "
            "a base is GPTQ (layout gptq or gptq_v2) with 2, 4 or 8 bits, or not quantised"
        )
    return Quantisation(bits, layout == "gptq")


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a base, in order of name; raises FileNotFoundError where there are none."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    files = tuple(folder / name for name in names)
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: a base keeps its weights in safetensors files, and this one is missing")
    return files


def plain_weights(folder: Path, how: Quantisation | None) -> dict[str, Any]:
    """All weights of a base as float32 tensors, by name; packed ones dequantised under `<module>.weight`.

    Raises FileNotFoundError, and ValueError where a packed weight lacks a part.
    """
    packed: dict[str, dict[str, Any]] = {}
    plain: dict[str, Any] = {}
    for name, tensor in _tensors(folder):
        module, _, part = name.rpartition(".")
        if how is not None and part in PACKED:
            packed.setdefault(module, {})[part] = tensor
        else:
            plain[name] = tensor.float() if tensor.is_floating_point() else tensor
    for module in list(packed):
        parts = packed.pop(module)
        if how is None or set(parts) != set(PACKED):
            raise ValueError(f"{folder}: {module} has {sorted(parts)}, expected {sorted(PACKED)}")
        plain[f"{module}.weight"] = dequantised(**parts, how=how)
    return plain


def module_shapes(folder: Path, how: Quantisation | None) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of every module of a base with a two-dimensional weight, by name, read from file headers."""
    from safetensors import safe_open

    shapes = {}
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                module, _, part = name.rpartition(".")
                shape = tensors.get_slice(name).get_shape()
                if part == "qweight" and how is not None:
                    shapes[module] = (shape[0] * 32 // how.bits, shape[1])
                elif part == "weight" and len(shape) == 2:
                    shapes[module] = (shape[1], shape[0])
    return shapes


def dequantised(qweight: Any, qzeros: Any, scales: Any, g_idx: Any, how: Quantisation) -> Any:
    """The weight of one linear module: float32 [out, in] = scale * (q - zero), exact.

    `qweight` int32 [in * bits / 32, out], `qzeros` int32 [groups, out * bits / 32], `scales` float16 [groups, out],
    `g_idx` int32 [in], the group of each input. Layout after GPTQModel's gptqmodel/nn_modules/qlinear/torch.py.
    """
    zeros = qzeros + _ONES[how.bits] if how.stored_less_one else qzeros
    quantised = _unpacked(qweight.t(), how.bits)  # [out, in]
    zero = _unpacked(zeros, how.bits)  # [groups, out]
    group = g_idx.long()
    return ((quantised - zero.t()[:, group]).float() * scales.float().t()[:, group]).contiguous()


def _unpacked(words: Any, bits: int) -> Any:
    """Fields of 32-bit words along the last axis, low bits first: [rows, n] to [rows, n * 32 / bits]."""
    import torch

    shifts = torch.arange(0, 32, bits, dtype=torch.int32, device=words.device)
    fields = (words.unsqueeze(-1) >> shifts) & ((1 << bits) - 1)
    return fields.reshape(words.shape[0], -1)


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    from safetensors import safe_open

    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                yield name, tensors.get_tensor(name)
