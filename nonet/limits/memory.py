"""How much memory a base needs to be trained over and to answer: an estimate from its config.json. Opens no weights.

Knows decoders of the Llama kind (Llama, Mistral, Qwen2, Qwen3) and what Nonet's own training and engines keep:

- *Weights*: the files' sizes or, where they are not at hand, the parameters by the quantisation's bits, scales, zero
  points and, for GPTQ, group indices (layout: nonet/bases/gptq.py, nonet/bases/awq.py).
- *Adapters*: LoRA's r (in + out) parameters a module (Hu et al. 2021, arXiv:2106.09685), float32; in training with
  their gradient and AdamW's two moments, 16 bytes a parameter (Rajbhandari et al. 2019, arXiv:1910.02054).
- *Activations* of training: what autograd keeps of a layer for LoRA over frozen weights, counted operation by operation
  after Korthikanti et al. 2022 (arXiv:2205.05198); with recomputation (packed weights on a GPU) the layers' inputs, and
  one layer with the unpacked weights that it needs.
- *Logits*: the rows that are made of them, float32.

How far it is off where it was measured: docs/bases.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GIB = 2**30
LORA_TRAINED = 16
"""Bytes a trained parameter: weight, gradient and AdamW's two moments in float32."""
RUNTIME = {"cpu": 0.39 * GIB, "cuda": 0.8 * GIB}
"""What a compute process takes without a base: Python, torch, transformers and peft; on a GPU its CUDA context and
kernels. Measured: see docs/bases.md."""
_HELD_ON_CPU = 2.3
"""Times that a training's activations take on a CPU what is counted: gradients on their way back, and freed blocks that
the C library keeps. Fitted to the measurements in docs/bases.md."""
_VLLM_SHARE = 0.9
"""Part of a GPU that vLLM allows itself (its gpu_memory_utilization)."""
_VLLM_TOKENS = 8192
"""Tokens that vLLM runs at once when it measures its own need (its max_num_batched_tokens)."""
_VLLM_SEQUENCES = 256
"""Rows of logits that it makes then (its max_num_seqs)."""
_VLLM_CPU_CACHE = GIB
"""nonet.engines.vllm.CPU_CACHE."""
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of one number, by type."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shapes of a decoder, and how its weights are stored: `bits` and `group` (None: not quantised) by `method`;
    `stored` bytes of its weight files, None where they are not at hand; `dtype` of what is not quantised.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    method: str | None
    bits: int
    group: int
    dtype: str
    stored: int | None = None

    @property
    def modules(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of the linear modules of one layer, by name."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def layer_weights(self) -> int:
        return sum(inputs * outputs for inputs, outputs in self.modules.values())

    @property
    def embeddings(self) -> int:
        """Parameters of the embedding and, where it has its own, of the lm_head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_weights + self.embeddings

    def packed_bytes(self) -> float:
        """The weights as they are stored; by the shapes where the files hold less, since then some are missing."""
        return max(float(self.stored or 0), self._computed_bytes())

    def _computed_bytes(self) -> float:
        if self.method is None:
            return float(self.parameters * BYTES[self.dtype])
        linear = self.layer_weights * (self.bits / 8 + (2 + self.bits / 8) / self.group)
        indices = 4 * sum(inputs for inputs, _ in self.modules.values()) if self.method == "gptq" else 0
        return self.layers * (linear + indices) + self.embeddings * BYTES[self.dtype]

    def lora(self, rank: int, targets: tuple[str, ...]) -> int:
        """Parameters of one adapter."""
        chosen = [shape for name, shape in self.modules.items() if name in targets]
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in chosen)


@dataclass(frozen=True, slots=True)
class Footprint:
    """An estimate in bytes, by what takes it."""

    weights: float
    adapters: float
    activations: float
    runtime: float

    @property
    def total(self) -> float:
        return self.weights + self.adapters + self.activations + self.runtime


@dataclass(frozen=True, slots=True)
class Work:
    """What is done over a base: the recipe's sizes, `tokens` of a prompt with its reply, `adapters` at once."""

    rank: int
    targets: tuple[str, ...]
    tokens: int
    batch_size: int
    dropout: float
    adapters: int
    free_text: bool


def architecture(config: Mapping[str, Any], stored: int | None = None) -> Architecture:
    """The shapes in a base's config.json; raises ValueError where it is no decoder that can be estimated."""
    wanted = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    missing = [name for name in wanted if type(config.get(name)) is not int or config[name] < 1]
    if missing:
        raise ValueError(f"config.json has no {', '.join(missing)}")
    experts = [name for name in ("num_experts", "num_local_experts", "n_routed_experts") if config.get(name)]
    if experts:
        raise ValueError(f"config.json has {experts[0]}: a mixture of experts is not estimated")
    quantised = config.get("quantization_config") or {}
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float16").removeprefix("torch.")
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    group = int(quantised.get("group_size", 128))
    return Architecture(
        hidden=hidden,
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        intermediate=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
        method=quantised.get("quant_method"),
        bits=int(quantised.get("bits") or quantised.get("w_bit") or 16),
        group=group if group > 0 else hidden,
        dtype=dtype if dtype in BYTES else "float16",
        stored=stored,
    )


def training_memory(base: Architecture, work: Work, device: str, dtype: str | None = None) -> Footprint:
    """Memory of training one adapter on `device` ("cpu": the process; "cuda": the GPU)."""
    numbers = BYTES[dtype or ("float32" if device == "cpu" else "float16")]
    tokens = work.tokens * work.batch_size
    packed = base.method is not None and device != "cpu"
    layer = tokens * kept_of_a_layer(base, work, numbers)
    if packed:
        activations = base.layers * tokens * base.hidden * numbers + layer + _unpacked(base, numbers)
    else:
        activations = base.layers * layer * (_HELD_ON_CPU if device == "cpu" else 1)
    activations += 2 * tokens * base.intermediate * 4  # gradients of the widest tensors on their way back
    activations += 3 * work.batch_size * base.vocabulary * 4  # logits, their softmax and its gradient
    adapters = LORA_TRAINED * base.lora(work.rank, work.targets)
    return Footprint(stored_weights(base, device, numbers), adapters, activations, RUNTIME[device])


def answering_memory(base: Architecture, work: Work, engine: str, device: str, dtype: str | None = None) -> Footprint:
    """Memory of answering with the engine `transformers` or `vllm` on `device`; of `transformers` the least, one prompt
    and one adapter at once, to which it goes down where memory runs out.
    """
    numbers = BYTES[dtype or ("float32" if device == "cpu" else "float16")]
    cache = 2 * base.layers * base.kv_heads * base.head_dim * work.tokens * numbers
    widest = base.hidden * 4 + base.intermediate * 3
    if engine == "transformers":
        packed = base.method is not None and device != "cpu"
        widest_weight = max(i * o for i, o in base.modules.values())
        unpacked = widest_weight * (numbers if base.method == "gptq" else numbers + 4) if packed else 0
        activations = work.tokens * widest * numbers + unpacked + 2 * base.vocabulary * 4
        activations += cache if work.free_text else 0
        adapters = 4 * base.lora(work.rank, work.targets)
        return Footprint(stored_weights(base, device, numbers), adapters, activations, RUNTIME[device])
    adapters = work.adapters * 2 * base.lora(work.rank, work.targets)
    if device == "cpu":
        return Footprint(stored_weights(base, device, numbers), adapters, _VLLM_CPU_CACHE, 2 * RUNTIME[device])
    activations = cache + _VLLM_TOKENS * widest * numbers + _VLLM_SEQUENCES * base.vocabulary * 4
    taken = base.packed_bytes() + adapters + activations
    return Footprint(base.packed_bytes(), adapters, activations, RUNTIME[device] + taken * (1 / _VLLM_SHARE - 1))


def _unpacked(base: Architecture, numbers: int) -> float:
    """Unpacked copies of weights in training: packed linears have one at a time, and AWQ's kernels leave autograd those
    of the layer that is computed again, made in float32."""
    widest = max(inputs * outputs for inputs, outputs in base.modules.values())
    return widest * numbers if base.method == "gptq" else base.layer_weights * numbers + 4 * widest


def stored_weights(base: Architecture, device: str, numbers: int) -> float:
    """On a CPU a base is resident: every weight a plain number. On a GPU it stays as it is stored."""
    if device == "cpu" or base.method is None:
        return float(base.parameters * numbers)
    return base.packed_bytes()


def kept_of_a_layer(base: Architecture, work: Work, numbers: int) -> float:
    """Bytes a token that autograd keeps of one layer.

    Of each of two norms its input and normalised input in float32; the input of every LoRA matrix A (a copy in float32
    where the base computes in less, or with dropout, which
    has a mask of a byte, too); queries, repeated keys and values and the output of the
    attention; gate, activated gate, up and their product of the MLP.
    """
    hidden, queries, wide = base.hidden, base.heads * base.head_dim, base.intermediate
    inputs = [base.modules[name][0] for name in work.targets if name in base.modules]
    copies = sum(inputs) * 4 if numbers < 4 or work.dropout else 0
    copies += sum(inputs) if work.dropout else 0
    norms = 2 * (hidden * 4 + hidden * numbers + (hidden * 4 if numbers < 4 else 0))
    return norms + copies + 5 * queries * numbers + 4 * wide * numbers + len(inputs) * work.rank * 4
