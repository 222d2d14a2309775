"""An adapter that was trained elsewhere, checked: what its configuration asks for, what its weights hold, whether it
fits a base. Knows peft's LoRA; needs no torch and no peft.

Whatever the two engines would do differently, or one of them not at all, is refused here. The key of such an adapter
follows from its content alone: from the settings that change what it does, and the bytes of its weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nonet.engines.adapter_files import CONFIG, WEIGHTS, Shapes, expected_shapes
from nonet.questions.problem import Problem
from nonet.questions.split import normal_stem
from nonet.sharing.found import TOLD, FoundAdapter, NotAnAdapterError
from nonet.stores.key import canonical, digest, key_of

KNOWN = ("peft_type", "r", "lora_alpha", "target_modules", "use_rslora", "bias")
"""Settings of a LoRA configuration that change what an adapter does, and that all engines take alike."""
_INERT = {
    "task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "lora_dropout",
    "init_lora_weights", "megatron_core", "peft_version", "qalora_group_size",
}  # fmt: skip
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Values of init_lora_weights that leave the base as it is; pissa, olora, loftq and corda train over another one."""
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class CheckedAdapter:
    """A sound adapter: `key` of its content, peft's `config` as it is committed, the SHA-256 of its weights and how
    they are read again (gigabytes are not kept), the shape of each tensor, what its pack `told` of it ({}: nothing).
    """

    name: str
    place: str
    key: str
    config: Mapping[str, Any]
    sha256: str
    read: Callable[[], bytes]
    shapes: Mapping[str, tuple[int, ...]]
    told: Mapping[str, Any]

    @property
    def rank(self) -> int:
        return int(self.config["r"])

    @property
    def origin(self) -> str:
        """Where it comes from, for people: "all of demo-2fe36032", or the name of its folder."""
        name, run = self.told.get("name"), self.told.get("run")
        known = isinstance(name, str) and isinstance(run, str)
        return f"{_plain(str(name))} of {_plain(str(run))}" if known else _plain(self.name)

    @property
    def base_digest(self) -> str | None:
        """The digest of the base that it was trained over, None where its pack does not say."""
        base = self.told.get("base")
        found = base.get("digest") if isinstance(base, dict) else None
        return found if isinstance(found, str) else None

    def config_bytes(self) -> bytes:
        return canonical(self.config) + b"\n"

    def weights(self) -> bytes:
        """The weights file, read again; raises NotAnAdapterError where it has changed meanwhile, OSError."""
        data = self.read()
        if digest(data) != self.sha256:
            raise NotAnAdapterError(f"{self.place}: {WEIGHTS} has changed while it was imported; import it again")
        return data


def check_adapter(found: FoundAdapter) -> CheckedAdapter:
    """Read and check an adapter; raises NotAnAdapterError, OSError."""
    config = found.json(CONFIG)
    problem = _config_problem(config)
    if problem is not None:
        raise NotAnAdapterError(f"{found.place}: {CONFIG}: {problem}")
    weights = found.read(WEIGHTS)
    shapes, sha256 = _shapes(found.place, weights), digest(weights)
    effective = effective_config(config)
    return CheckedAdapter(
        name=found.name,
        place=found.place,
        key=content_key(effective, sha256),
        config={**effective, "task_type": "CAUSAL_LM", "base_model_name_or_path": None, "inference_mode": True},
        sha256=sha256,
        read=found.files[WEIGHTS],
        shapes=shapes,
        told=found.json(TOLD),
    )


def effective_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that change what an adapter does."""
    held = {name: config[name] for name in KNOWN if config.get(name)}
    return {**held, "bias": "none", "target_modules": sorted(config["target_modules"])}


def content_key(config: Mapping[str, Any], weights: str) -> str:
    """The key of an adapter with these settings (see effective_config) and weights of this SHA-256."""
    return key_of("imported adapter", {"config": dict(config), "weights": weights})


def misfit_of(adapter: CheckedAdapter, shapes: Shapes) -> str | None:
    """Why an adapter does not fit the base whose modules have `shapes`, None when it does."""
    expected = expected_shapes(set(adapter.config["target_modules"]), adapter.rank, shapes)
    if not expected:
        return f"the base has none of the modules {', '.join(adapter.config['target_modules'])}"
    for name in sorted(expected.keys() ^ adapter.shapes.keys()):
        return f"{name} is {'missing' if name in expected else 'not of a module that the base has'}"
    for name, shape in expected.items():
        if adapter.shapes[name] != shape:
            return f"{name} has the shape {adapter.shapes[name]}, the base needs {shape}"
    return None


def stem_mark(stem: str) -> str:
    """What a pack says of a stem that an adapter was trained on: enough to find a leak, too little to read it."""
    return digest(normal_stem(stem).encode())[:16]


def leaked_rows(adapter: CheckedAdapter, test: Iterable[Problem]) -> tuple[str, ...]:
    """Ids of the rows of the test whose stems the adapter was trained on, as far as its pack says."""
    marks = adapter.told.get("stems")
    known = set(marks) if isinstance(marks, list) and all(isinstance(mark, str) for mark in marks) else set()
    return tuple(problem.id for problem in test if stem_mark(problem.stem) in known) if known else ()


def _plain(name: str) -> str:
    """A name that somebody else gave, fit for a table and a terminal."""
    return re.sub(r"[^\w.@-]", "_", name)[:100]


def _config_problem(config: Mapping[str, Any]) -> str | None:
    if config.get("peft_type") != "LORA":
        return f"peft_type is {config.get('peft_type')!r}; only LoRA adapters can be used"
    rank, alpha, targets = config.get("r"), config.get("lora_alpha"), config.get("target_modules")
    if type(rank) is not int or not 1 <= rank <= 512:
        return f"r is {rank!r}, not a whole number from 1 to 512"
    if type(alpha) not in (int, float):
        return f"lora_alpha is {alpha!r}, not a number"
    if not isinstance(targets, list) or not targets or not all(isinstance(name, str) for name in targets):
        return f"target_modules is {str(targets)[:80]!r}; save the adapter with the names of its modules as a list"
    if config.get("bias", "none") != "none":
        return f"bias is {config['bias']!r}; adapters that change biases cannot be used"
    start = config.get("init_lora_weights", True)
    if start is not None and start not in _PLAIN_STARTS:
        return f"init_lora_weights is {start!r}: it was trained over a changed base; convert it to plain LoRA with peft"
    for name, value in config.items():
        if value and name not in _INERT and name not in KNOWN:
            return f"{name} is {str(value)[:80]}, which not every engine can do; train a plain LoRA adapter"
    return None


def _shapes(place: str, weights: bytes) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, by name; raises NotAnAdapterError for what is no safetensors file of finite numbers."""
    from safetensors import SafetensorError, deserialize

    try:
        tensors: Any = deserialize(weights)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise NotAnAdapterError(f"{place}: {WEIGHTS} is damaged or no safetensors file: {error}") from None
    shapes = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in _BYTES:
            raise NotAnAdapterError(f"{place}: {name} holds {tensor['dtype']}; adapters hold {', '.join(_BYTES)}")
        if not _finite(tensor["dtype"], tensor["data"]):
            raise NotAnAdapterError(f"{place}: {name} holds values that are not finite")
        shapes[name] = tuple(tensor["shape"])
    return shapes


def _finite(kind: str, data: bytes) -> bool:
    """Whether no number has an exponent of all ones, which stands for infinity and what is no number (IEEE 754)."""
    import numpy

    size = _BYTES[kind]
    exponent = {"F64": 0x7FF0_0000_0000_0000, "F32": 0x7F80_0000, "F16": 0x7C00, "BF16": 0x7F80}[kind]
    numbers = numpy.frombuffer(data, dtype=f"<u{size}")
    return not bool(((numbers & exponent) == exponent).any())
