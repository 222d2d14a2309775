"""The weights of a base: its safetensors files, how they are quantised, and the plain numbers that they stand for.

Knows bases that are quantised by GPTQ or AWQ, and those that are not. Knows no model: `nonet.bases.base` puts the
weights into one; the layouts of packed integers are in `nonet.bases.gptq` and `nonet.bases.awq`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonet.bases import awq, gptq

PARTS = {"gptq": ("qweight", "qzeros", "scales", "g_idx"), "awq": ("qweight", "qzeros", "scales")}
"""The tensors of a packed module, by method."""


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How a base is quantised: `method` gptq or awq, `bits` a weight; whether zero points are stored less one."""

    method: str
    bits: int
    stored_less_one: bool = False


def quantisation(config: Mapping[str, Any]) -> Quantisation | None:
    """What a base's config.json says of its quantisation, None where it has none.

    Raises ValueError for what is neither GPTQ nor AWQ.
    """
    settings = config.get("quantization_config")
    if settings is None:
        return None
    method, bits = settings.get("quant_method"), settings.get("bits") or settings.get("w_bit")
    layout = settings.get("version", "gemm") if method == "awq" else settings.get("checkpoint_format", "gptq")
    if method == "gptq" and layout in ("gptq", "gptq_v2") and bits in gptq.ONES:
        return Quantisation(method, bits, layout == "gptq")
    if method == "awq" and str(layout).lower() == "gemm" and bits == awq.BITS and settings.get("zero_point", True):
        return Quantisation(method, bits)
    raise ValueError(
        f"quantization_config: method {method!r}, layout {layout!r}, {bits!r} bits; a base is GPTQ (layout gptq or "
        "gptq_v2, 2, 4 or 8 bits), AWQ (layout gemm with zero points, 4 bits) or not quantised"
    )


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


def check_whole(file: Path) -> None:
    """Raises ValueError, with the remedy, where `file` is not a whole safetensors file: cut short, or something else.

    Source: https://huggingface.co/docs/safetensors/index#format
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            header = json.loads(stream.read(length)) if length <= size - 8 else {}
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            ends = []
    if not ends or 8 + length + max(ends) != size:
        wanted = f" of {8 + length + max(ends):,}" if ends else ""
        raise ValueError(
            f"{file}: not a whole safetensors file ({size:,} bytes{wanted}); fetch the base again, or copy the file "
            "from where it is whole"
        )


def plain_weights(folder: Path, how: Quantisation | None) -> dict[str, Any]:
    """All weights of a base as float32 tensors, by name; packed ones dequantised under `<module>.weight`.

    Raises FileNotFoundError, and ValueError where a packed weight lacks a part.
    """
    packed: dict[str, dict[str, Any]] = {}
    plain: dict[str, Any] = {}
    for name, tensor in stored_tensors(folder):
        module, _, part = name.rpartition(".")
        if how is not None and part in PARTS[how.method]:
            packed.setdefault(module, {})[part] = tensor
        else:
            plain[name] = tensor.float() if tensor.is_floating_point() else tensor
    for module in list(packed):
        parts = packed.pop(module)
        if how is None or set(parts) != set(PARTS[how.method]):
            expected = sorted(PARTS[how.method]) if how else []
            raise ValueError(f"{folder}: {module} has {sorted(parts)}, expected {expected}")
        plain[f"{module}.weight"] = _dequantised(parts, how)
    return plain


def module_shapes(folder: Path, how: Quantisation | None) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of every module of a base with a two-dimensional weight, by name, read from file headers."""
    from safetensors import safe_open

    shapes = {}
    for file in weight_files(folder):
        check_whole(file)
        with safe_open(file, framework="np") as tensors:  # its header only; works without torch
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                module, _, part = name.rpartition(".")
                shape = tensors.get_slice(name).get_shape()
                if part == "qweight" and how is not None:
                    packed = 32 // how.bits
                    awq_shape, gptq_shape = (shape[0], shape[1] * packed), (shape[0] * packed, shape[1])
                    shapes[module] = awq_shape if how.method == "awq" else gptq_shape
                elif part == "weight" and len(shape) == 2:
                    shapes[module] = (shape[1], shape[0])
    return shapes


def _dequantised(parts: Mapping[str, Any], how: Quantisation) -> Any:
    if how.method == "awq":
        return awq.dequantised(**parts)
    return gptq.dequantised(**parts, bits=how.bits, stored_less_one=how.stored_less_one)


def stored_tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """(name, tensor) of everything in a base's weight files, as stored; raises FileNotFoundError."""
    from safetensors import safe_open

    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                yield name, tensors.get_tensor(name)
