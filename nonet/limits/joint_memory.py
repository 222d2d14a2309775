"""How much memory joint training needs, and what it should do at once on the memory there is. Opens no weights.

Knows what `nonet.adapters.joint` keeps over the base (shapes and weights as in `nonet.limits.memory`): of every slot
the adapter, its gradient and AdamW's two moments, and of the tokens that go through the base at once what autograd
keeps: on a GPU of lean layers and fused products (`nonet.bases.lean_layers`, `nonet.adapters.lora_product`), on a CPU
of transformers' own. How far it is off where it was measured: docs/performance.md. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from nonet.limits.memory import (
    BYTES,
    LORA_TRAINED,
    RUNTIME,
    Architecture,
    Footprint,
    Work,
    kept_of_a_layer,
    stored_weights,
)

TOKENS = {"cuda": (8192, 6144, 4096, 3072, 2048, 1024, 512), "cpu": (2048, 1024, 512)}
"""Tokens at once that are tried. A GPU unpacks each weight once for all of them; a CPU's are plain."""
UNPACKING = {"cuda": 400, "cpu": 0}
"""Tokens that cost as much as what is done once for all that go through the base at once: to unpack the weights, to
start kernels, to fill the tensor cores. After a measurement on an H200 over the 32B shape: a prompt of 410 tokens took
0.160 s alone and 0.090 s as one of eight."""
MARGIN = 0.92
"""Part of the free memory that is planned with: allocators round up, and blocks do not fit into each other's gaps."""
_HELD_ON_CPU = 1.95
"""Times that what is counted is taken on a CPU; fitted to two measurements of the 40 M shape: 590 tokens at once in
1.16 GiB, 2,360 in 3.02."""


@dataclass(frozen=True, slots=True)
class JointSizes:
    """What a joint training does at once: adapters in `slots`, `tokens` through the base, and whether it keeps the
    layers' inputs only and computes the rest again (`recompute`).
    """

    slots: int
    tokens: int
    recompute: bool

    def halved(self, least: int) -> JointSizes | None:
        """What to try where memory ran out: half the tokens, but at least `least` (those of the longest prompt), then
        recomputation, then half the slots; None where nothing is left to halve.
        """
        if self.tokens > least:
            return replace(self, tokens=max(least, self.tokens // 2))
        if not self.recompute:
            return replace(self, recompute=True)
        return replace(self, slots=self.slots // 2) if self.slots > 1 else None


def joint_memory(base: Architecture, work: Work, sizes: JointSizes, device: str, dtype: str | None = None) -> Footprint:
    """Memory of training `sizes.slots` adapters at once on `device` ("cpu": the process; "cuda": the GPU)."""
    numbers = BYTES[dtype or ("float32" if device == "cpu" else "float16")]
    tokens = _through(work, sizes, device)
    layer = tokens * _kept(base, work, sizes, device, numbers)
    inputs = tokens * base.hidden * numbers
    kept = base.layers * inputs + layer if sizes.recompute else base.layers * layer
    replies = max(1, tokens // work.tokens)
    activations = kept + 3 * replies * base.vocabulary * 4  # logits, their softmax and its gradient
    if device == "cpu":
        activations += 2 * tokens * base.intermediate * 4  # gradients of the widest tensors on their way back
    else:
        unpacked = max(i * o for i, o in base.modules.values()) * numbers if base.method is not None else 0
        activations += unpacked + 4 * tokens * base.intermediate * numbers  # the gated product, and three gradients
        activations += 4 * sizes.slots * work.rank * base.intermediate  # one B's gradient in float32
    adapters = LORA_TRAINED * base.lora(work.rank, work.targets) * sizes.slots
    return Footprint(stored_weights(base, device, numbers), adapters, activations, RUNTIME[device])


def joint_sizes(
    base: Architecture, work: Work, device: str, free: float, dtype: str | None = None
) -> JointSizes | None:
    """What is fastest of what fits `free` bytes, the base's weights to be held in them, too; None where nothing does.

    Time is that of the products and of unpacking, by tokens at once; of equals the one with the most slots, then the
    one that needs least memory.
    """
    fitting = []
    for sizes in _tried(work, device):
        needed = joint_memory(base, work, sizes, device, dtype).total
        if needed <= MARGIN * free:
            passes = 3 if sizes.recompute else 2
            unpacking = UNPACKING[device] if base.method is not None else 0
            time = passes * (1 + unpacking / _through(work, sizes, device))
            fitting.append((round(time, 2), -sizes.slots, needed, sizes.tokens, sizes))
    return min(fitting, key=lambda tried: tried[:4])[4] if fitting else None


def _tried(work: Work, device: str) -> Iterator[JointSizes]:
    for recompute in (False, True):
        for tokens in TOKENS[device]:
            for slots in range(work.adapters, 0, -1):
                yield JointSizes(slots, max(tokens, work.tokens), recompute)


def _through(work: Work, sizes: JointSizes, device: str) -> int:
    """Tokens that are at once on their way through the base: no more than all slots have in a step, or, on a CPU, where
    adapters take turns, than one has.
    """
    slots = 1 if device == "cpu" else sizes.slots
    return max(work.tokens, min(sizes.tokens, slots * work.tokens * work.batch_size))


def _kept(base: Architecture, work: Work, sizes: JointSizes, device: str, numbers: int) -> float:
    """Bytes a token that autograd keeps of one layer.

    On a GPU: of each norm its input and its output (the input of A matrices), queries, repeated keys and values and the
    output of the attention, gate and up; and each module's thin product, [slots * rank] wide.
    """
    if device == "cpu":
        return _HELD_ON_CPU * kept_of_a_layer(base, work, numbers)
    queries = base.heads * base.head_dim
    wide = 4 * base.hidden + 4 * queries + 2 * base.intermediate
    thin = sum(name in base.modules for name in work.targets) * sizes.slots * work.rank
    return (wide + thin) * numbers + 4 * (base.heads + 2)
