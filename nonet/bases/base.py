"""The base: one frozen model with its tokenizer, loaded once and kept.

Knows two forms. *Resident*: the packed weights dequantised once into plain float32 modules, exact and several times
faster on a CPU, where it is the default while memory allows; the only form of a base that is not quantised. *Packed*:
the weights stay as they are; the default on a GPU. GPTQ bases then have Nonet's packed linears, AWQ bases GPTQModel's
kernels, and on the stack of the V100 it is auto-gptq's. Knows no adapters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from nonet.bases.packed_model import packed_model
from nonet.bases.stack import dtype_argument, is_volta, quantised_model, readable
from nonet.bases.weights import (
    Quantisation,
    check_whole,
    module_shapes,
    plain_weights,
    quantisation,
    stored_tensors,
    weight_files,
)
from nonet.limits.memory import Architecture, architecture

DTYPES = ("float16", "bfloat16", "float32")
"""Numbers that a base can compute in, by their names in torch."""
_SPARE = 1.5
"""How many times the size of its weights must be free for a base to be loaded resident."""


class Form(StrEnum):
    """How a base holds its weights."""

    RESIDENT = "resident"
    PACKED = "packed"


@dataclass(frozen=True, slots=True)
class Base:
    """A loaded base: `model` is a transformers causal language model in evaluation mode, all parameters frozen."""

    path: str
    device: str
    form: Form
    model: Any
    tokenizer: Any


def load_base(path: str, device: str, form: Form | None = None, dtype: str | None = None) -> Base:
    """Load the base in the folder `path` on `device` ("cpu", "cuda", "cuda:0").

    `dtype` (one of DTYPES) is what it computes in; None: float32 on a CPU, float16 on a GPU. `form` None chooses:
    resident on a CPU where it fits, else packed. Raises FileNotFoundError and ValueError for a base that is missing,
    damaged or quantised otherwise than by GPTQ or AWQ.
    """
    config = base_config(path)
    for file in weight_files(Path(path)):
        check_whole(file)
    chosen = form or _form(path, config, device)
    tokenizer = load_tokenizer(path)
    numbers = dtype or ("float32" if device == "cpu" else "float16")
    if chosen is Form.RESIDENT:
        model = _resident(path, config, device, numbers)
    else:
        model = _packed(path, quantisation(config), device, numbers)
    model.requires_grad_(False)
    model.eval()
    return Base(path, device, chosen, model, tokenizer)


def base_config(path: str) -> Mapping[str, Any]:
    """The base's config.json; raises FileNotFoundError, ValueError."""
    file = Path(path) / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no base here; a base is a folder with config.json and safetensors")
    try:
        config: Mapping[str, Any] = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not JSON ({error}); fetch the base again") from None
    return config


def load_tokenizer(path: str) -> Any:
    """The base's tokenizer; raises ValueError where it has no chat template."""
    from transformers import AutoTokenizer

    with readable(path) as folder:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise ValueError(f"{path}: the tokenizer has no chat template; use an instruct base")
    return tokenizer


def base_stamp(path: str) -> tuple[int, int]:
    """Changes when the base in the folder `path` is replaced; (0, 0) where there is none."""
    try:
        status = (Path(path) / "config.json").stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def base_identity(path: str) -> str:
    """A digest of the base without reading its weights: config.json, and names and sizes of the weight files."""
    sizes = [[file.name, file.stat().st_size] for file in weight_files(Path(path))]
    text = json.dumps([base_config(path), sizes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def base_architecture(path: str) -> Architecture:
    """The base's shapes and the size of its weights, for estimates; raises OSError, ValueError, KeyError, TypeError."""
    stored = sum(file.stat().st_size for file in weight_files(Path(path)))
    return architecture(base_config(path), stored)


def base_shapes(path: str) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of each linear module of the base, by name; reads no weights."""
    return module_shapes(Path(path), quantisation(base_config(path)))


def _form(path: str, config: Mapping[str, Any], device: str) -> Form:
    how = quantisation(config)
    if how is None:
        return Form.RESIDENT
    if device != "cpu" or is_volta():
        return Form.PACKED
    stored = sum(file.stat().st_size for file in weight_files(Path(path)))
    return Form.RESIDENT if stored * 32 / how.bits * _SPARE < _available() else Form.PACKED


def _packed(path: str, how: Quantisation | None, device: str, dtype: str) -> Any:
    import torch

    if how is None or how.method != "gptq" or is_volta():
        return quantised_model(path, device, dtype, "gptq" if how is None else how.method)
    try:
        return packed_model(_settings(path), stored_tensors(Path(path)), how, device, getattr(torch, dtype))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _settings(path: str) -> Any:
    """The base's configuration as transformers knows it, without its quantisation."""
    import transformers

    with readable(path) as folder:
        settings = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if hasattr(settings, "quantization_config"):
        del settings.quantization_config
    return settings


def _resident(path: str, config: Mapping[str, Any], device: str, dtype: str) -> Any:
    import torch
    import transformers

    settings = _settings(path)
    model_class = transformers.AutoModelForCausalLM._model_mapping[type(settings)]
    model, told = model_class.from_pretrained(
        None,
        config=settings,
        state_dict=plain_weights(Path(path), quantisation(config)),
        output_loading_info=True,
        **dtype_argument(getattr(torch, dtype)),
    )
    missing = sorted(told["missing_keys"])
    if missing:
        raise ValueError(f"{path}: the base lacks {len(missing)} weights, first {missing[0]}; fetch the base again")
    return model.to(device)


def _available() -> int:
    """Bytes of memory that are free for the asking, 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return 0
    fields = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(fields["MemAvailable"].split()[0]) * 1024
