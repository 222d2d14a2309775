"""An adapter's files, read and checked before any engine sees them. Knows peft's format, not peft."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonet.adapters.lora import file_name

Shapes = Mapping[str, tuple[int, int]]
"""(inputs, outputs) of each linear module of a base, by name; see nonet.bases.weights.module_shapes."""

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_PLAIN = {
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "inference_mode",
    "init_lora_weights",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "target_modules",
    "task_type",
}
"""What may be set in the configuration of an adapter that is A, B and one scale, by peft's names."""


class DamagedAdapterError(ValueError):
    """An adapter's files are missing, cannot be read, or are not those of a LoRA adapter."""


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """The content of an adapter's `folder`: peft's `config` and the `weights` by name, on the CPU."""

    folder: str
    config: Mapping[str, Any]
    weights: Mapping[str, Any]

    @property
    def is_plain(self) -> bool:
        """Whether the adapter is A, B and one scale, as all that Nonet trains are."""
        beyond = any(value for name, value in self.config.items() if name not in _PLAIN)
        told = self.config.get("bias", "none"), self.config.get("init_lora_weights", True)
        return not beyond and told in (("none", True), ("none", False))

    @property
    def scale(self) -> float:
        """What B A is multiplied by in a plain adapter."""
        return float(self.config["lora_alpha"] / self.config["r"])


def read_adapter(folder: str, shapes: Shapes) -> AdapterFiles:
    """Read an adapter for the base whose modules have `shapes`; raises DamagedAdapterError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((Path(folder) / CONFIG).read_text("utf-8"))
        weights = load_file(Path(folder) / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise DamagedAdapterError(f"{folder}: {type(error).__name__}: {error}; train the adapter again") from None
    problem = _problem(config, weights, shapes)
    if problem is not None:
        raise DamagedAdapterError(f"{folder}: {problem}; it is damaged, untrained or of another base: train it again")
    return AdapterFiles(folder, config, weights)


def _problem(config: Any, weights: Mapping[str, Any], shapes: Shapes) -> str | None:
    """What keeps an adapter from fitting its base, None when nothing does.

    Engines differ in what they notice (vLLM takes an adapter of a narrower base without a word), so all is checked
    here: every target module has its two weights, of the right shape and finite, and there are no others.
    """
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        return f"{CONFIG} is not that of a LoRA adapter"
    targets, rank = config.get("target_modules"), config.get("r")
    if not isinstance(targets, list) or type(rank) is not int:
        return f"{CONFIG} names no rank or no list of target modules"
    expected = expected_shapes(set(targets), rank, shapes)
    if not expected:
        return f"the base has none of the modules {sorted(targets)}"
    for name in sorted(expected.keys() ^ weights.keys()):
        return f"{name} is {'missing' if name in expected else 'not expected'}"
    for name, shape in expected.items():
        if tuple(weights[name].shape) != shape:
            return f"{name} has the shape {tuple(weights[name].shape)}, the base needs {shape}"
        if not weights[name].isfinite().all():
            return f"{name} holds values that are not finite"
    if not any(weights[name].any() for name in expected if name.endswith(".lora_B.weight")):
        return "every lora_B is zero, as before the first step of a training, so the adapter changes nothing"
    return None


def expected_shapes(targets: set[str], rank: int, shapes: Shapes) -> dict[str, tuple[int, int]]:
    """Shape of each weight that a LoRA adapter of `rank` on the modules `targets` has, by peft's names."""
    expected = {}
    for module, (inputs, outputs) in shapes.items():
        if module.rpartition(".")[2] in targets:
            expected[file_name(module, "A")] = (rank, inputs)
            expected[file_name(module, "B")] = (outputs, rank)
    return expected
