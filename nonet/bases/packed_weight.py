"""One packed GPTQ weight in memory, and how it is unpacked: by Triton on a GPU, by torch elsewhere.

Knows the tensors of a checkpoint in the layouts "gptq" and "gptq_v2"; groups of any size that holds whole words, in
order or by `g_idx` (act-order); zero points of any value. Exact: every number is scale * (q - zero) in float32, rounded
once to what is asked for. Knows no files and no modules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Any

from nonet.bases.gptq import ONES, unpacked


@dataclass(slots=True)
class Scratch:
    """Memory that unpacked weights are written to one after another: the largest that was asked for is kept.

    Whoever takes it has it until the next takes it: for one thread and one CUDA stream.
    """

    memory: Any = None

    def take(self, shape: tuple[int, int], like: Any, dtype: Any) -> Any:
        """An uninitialised tensor of `shape` and `dtype` on the device of the tensor `like`."""
        import torch

        count = shape[0] * shape[1]
        held = self.memory
        if held is None or held.dtype != dtype or held.device != like.device or held.numel() < count:
            self.memory = held = torch.empty(count, dtype=dtype, device=like.device)
        return held[:count].view(shape)


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """`qweight` int32 [in * bits / 32, out], `qzeros` int32 [groups, out * bits / 32] with zero points as they are,
    `scales` [groups, out] of a floating type, `g_idx` int32 [in] or None where `group` inputs in order share a scale.
    """

    qweight: Any
    qzeros: Any
    scales: Any
    g_idx: Any
    bits: int
    group: int
    scratch: Scratch = field(default_factory=Scratch, compare=False)

    @property
    def inputs(self) -> int:
        return int(self.qweight.shape[0]) * 32 // self.bits

    @property
    def outputs(self) -> int:
        return int(self.qweight.shape[1])

    def unpack(self, dtype: Any, below: int = 0) -> Any:
        """The weight as numbers of `dtype`, [in + below, out], the last rows left to the caller to fill; valid until
        the scratch memory is taken again.
        """
        if not below and not by_triton(self.qweight.device.type):
            return self.plain(dtype)
        out = self.scratch.take((self.inputs + below, self.outputs), self.qweight, dtype)
        if by_triton(self.qweight.device.type):
            from nonet.bases.triton_dequantise import dequantise

            dequantise(out, self.qweight, self.qzeros, self.scales, self.g_idx, self.bits, self.group)
        else:
            out[: self.inputs].copy_(self.plain(dtype))
        return out

    def plain(self, dtype: Any) -> Any:
        """The same as a tensor of its own, by torch's own operations."""
        import torch

        shifts = torch.arange(0, 32, self.bits, dtype=torch.int32, device=self.qweight.device)
        mask = (1 << self.bits) - 1
        fields = torch.bitwise_right_shift(self.qweight.unsqueeze(1), shifts.view(1, -1, 1)).bitwise_and_(mask)
        zero = unpacked(self.qzeros, self.bits).float()  # [groups, out]
        scale = self.scales.float()
        if self.g_idx is None:
            numbers = fields.view(zero.shape[0], -1, self.outputs).float()
            numbers = numbers.sub_(zero.unsqueeze(1)).mul_(scale.unsqueeze(1))
        else:
            group = self.g_idx.long()
            numbers = fields.view(self.inputs, self.outputs).float().sub_(zero[group]).mul_(scale[group])
        return numbers.view(self.inputs, self.outputs).to(dtype)


def packed_weight(
    qweight: Any,
    qzeros: Any,
    scales: Any,
    g_idx: Any,
    bits: int,
    *,
    stored_less_one: bool,
    scratch: Scratch | None = None,
) -> PackedWeight:
    """The weight in a checkpoint's tensors; `stored_less_one` says that they are of the layout "gptq".

    Raises ValueError where shapes or types do not belong together, or an input has a group that is not there.
    """
    import torch

    if bits not in ONES:
        raise ValueError(f"{bits} bits: a packed weight has {', '.join(map(str, ONES))}")
    if qweight.dtype != torch.int32 or qzeros.dtype != torch.int32 or not scales.is_floating_point():
        raise ValueError(
            f"qweight {qweight.dtype}, qzeros {qzeros.dtype}, scales {scales.dtype}: not as GPTQ packs them"
        )
    per = 32 // bits
    inputs, outputs, groups = qweight.shape[0] * per, qweight.shape[1], scales.shape[0]
    if tuple(scales.shape) != (groups, outputs) or tuple(qzeros.shape) != (groups, outputs // per):
        raise ValueError(
            f"qweight {tuple(qweight.shape)}, qzeros {tuple(qzeros.shape)}, scales {tuple(scales.shape)}: expected "
            f"({groups}, {outputs // per}) and ({groups}, {outputs}) beside it"
        )
    group, order = _order(g_idx, inputs, groups, per)
    zeros = qzeros + ONES[bits] if stored_less_one else qzeros
    return PackedWeight(
        qweight.contiguous(), zeros.contiguous(), scales.contiguous(), order, bits, group, scratch or Scratch()
    )


def _order(g_idx: Any, inputs: int, groups: int, per: int) -> tuple[int, Any]:
    """(inputs of a group, None) where groups lie in order and hold whole words, else (0, the group of each input)."""
    import torch

    size = -(-inputs // groups)
    in_order = torch.arange(inputs, dtype=torch.int32, device=None if g_idx is None else g_idx.device) // size
    if g_idx is None:
        g_idx = in_order
    if g_idx.numel() != inputs:
        raise ValueError(f"g_idx of {g_idx.numel()} inputs beside a weight of {inputs}")
    g_idx = torch.where(g_idx < 0, g_idx + groups, g_idx).to(torch.int32)
    if int(g_idx.min()) < 0 or int(g_idx.max()) >= groups:
        raise ValueError(f"g_idx names a group beyond the {groups} that there are")
    if inputs % size == 0 and size % per == 0 and torch.equal(g_idx, in_order):
        return size, None
    return 0, g_idx.contiguous()


@cache
def by_triton(device: str) -> bool:
    """Whether Triton's kernels are used on a `device` of this type."""
    return device == "cuda" and find_spec("triton") is not None
