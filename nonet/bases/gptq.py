"""GPTQ's layouts: packed integers as the plain numbers that they stand for.

Knows "gptq", whose zero points are stored less one, and "gptq_v2", at 2, 4 and 8 bits. Knows no files.
"""

from __future__ import annotations

from typing import Any

ONES = {2: 0x55555555, 4: 0x11111111, 8: 0x01010101}
"""One in every field of a 32-bit word, by bits a field."""


def dequantised(qweight: Any, qzeros: Any, scales: Any, g_idx: Any, bits: int, *, stored_less_one: bool) -> Any:
    """The weight of one linear module: float32 [out, in] = scale * (q - zero), exact.

    `qweight` int32 [in * bits / 32, out], `qzeros` int32 [groups, out * bits / 32], `scales` float16 [groups, out],
    `g_idx` int32 [in], the group of each input. Layout after GPTQModel's gptqmodel/nn_modules/qlinear/torch.py.
    """
    zeros = qzeros + ONES[bits] if stored_less_one else qzeros
    quantised = unpacked(qweight.t(), bits)  # [out, in]
    zero = unpacked(zeros, bits)  # [groups, out]
    group = g_idx.long()
    return ((quantised - zero.t()[:, group]).float() * scales.float().t()[:, group]).contiguous()


def unpacked(words: Any, bits: int) -> Any:
    """Fields of 32-bit words along the last axis, low bits first: [rows, n] to [rows, n * 32 / bits]."""
    import torch

    shifts = torch.arange(0, 32, bits, dtype=torch.int32, device=words.device)
    fields = (words.unsqueeze(-1) >> shifts) & ((1 << bits) - 1)
    return fields.reshape(words.shape[0], -1)
