"""The Triton kernel that unpacks a GPTQ weight on a GPU: every packed word is read once, every number written once.

Knows the layout (that of `nonet.bases.gptq`, zero points as they are) and Triton. Works interpreted on a CPU, too
(TRITON_INTERPRET=1). No `from __future__ import annotations` here: Triton reads the annotations of the kernel.
"""

from functools import cache
from typing import Any

WORDS, COLUMNS, WARPS = 16, 128, 4
"""Packed words by outputs that one program unpacks, and the warps it has."""

tl: Any = None
"""triton.language, once the kernel is made: Triton looks for it among the globals of the kernel's module."""


def dequantise(out: Any, qweight: Any, qzeros: Any, scales: Any, g_idx: Any, bits: int, group: int) -> None:
    """Write scale * (q - zero), rounded once, into `out` [in, out].

    `qweight` int32 [in * bits / 32, out], `qzeros` int32 [groups, out * bits / 32], `scales` [groups, out], contiguous;
    `group` inputs share a scale, in order, or, where it is 0, input i belongs to group `g_idx[i]` (int32 [in]).
    """
    kernel, triton = _kernel()
    words, outputs = qweight.shape
    grid = (triton.cdiv(words, WORDS), triton.cdiv(outputs, COLUMNS))
    order = qweight if g_idx is None else g_idx  # not read where `group` is not 0
    sizes = {"BITS": bits, "GROUP": group, "WORDS": WORDS, "COLUMNS": COLUMNS}
    kernel[grid](out, qweight, qzeros, scales, order, words, outputs, **sizes, num_warps=WARPS)


@cache
def _kernel() -> tuple[Any, Any]:
    global tl
    import triton
    import triton.language as tl

    @triton.jit
    def kernel(  # type: ignore[no-untyped-def]
        out_ptr,
        qweight_ptr,
        qzeros_ptr,
        scales_ptr,
        g_idx_ptr,
        n_words,
        n_out,
        BITS: tl.constexpr,
        GROUP: tl.constexpr,
        WORDS: tl.constexpr,
        COLUMNS: tl.constexpr,
    ):
        PER: tl.constexpr = 32 // BITS
        MASK: tl.constexpr = (1 << BITS) - 1
        word = tl.program_id(0) * WORDS + tl.arange(0, WORDS)
        column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
        field = tl.arange(0, PER)
        there = (word < n_words)[:, None] & (column < n_out)[None, :]  # [WORDS, COLUMNS]
        everywhere = there[:, None, :] & (field >= 0)[None, :, None]  # [WORDS, PER, COLUMNS]
        packed = tl.load(qweight_ptr + word[:, None] * n_out + column[None, :], mask=there, other=0)
        quantised = (packed[:, None, :] >> (field * BITS)[None, :, None]) & MASK
        row = word[:, None] * PER + field[None, :]  # [WORDS, PER]
        shift = (column % PER) * BITS
        if GROUP > 0:  # all inputs of a word share a group
            group = (word * PER) // GROUP
            scale = tl.load(scales_ptr + group[:, None] * n_out + column[None, :], mask=there, other=0.0)
            zeros = tl.load(
                qzeros_ptr + group[:, None] * (n_out // PER) + (column // PER)[None, :], mask=there, other=0
            )
            zero = ((zeros >> shift[None, :]) & MASK)[:, None, :]
            value = (quantised - zero).to(tl.float32) * scale.to(tl.float32)[:, None, :]
        else:
            known = (word < n_words)[:, None] & (field >= 0)[None, :]
            group = tl.load(g_idx_ptr + row, mask=known, other=0)[:, :, None]
            scale = tl.load(scales_ptr + group * n_out + column[None, None, :], mask=everywhere, other=0.0)
            zeros = tl.load(
                qzeros_ptr + group * (n_out // PER) + (column // PER)[None, None, :], mask=everywhere, other=0
            )
            zero = (zeros >> shift[None, None, :]) & MASK
            value = (quantised - zero).to(tl.float32) * scale.to(tl.float32)
        place = row.to(tl.int64)[:, :, None] * n_out + column[None, None, :]
        tl.store(out_ptr + place, value.to(out_ptr.dtype.element_ty), mask=everywhere)

    return kernel, triton
