"""AWQ's layout ("gemm", four bits): packed integers as the plain numbers that they stand for. Knows no files.

Eight outputs share a 32-bit word, interleaved, and zero points are stored as they are. Layout after AutoAWQ's
awq/utils/packing_utils.py, which GPTQModel follows (gptqmodel/nn_modules/qlinear/torch_awq.py).
"""

from __future__ import annotations

from typing import Any

from nonet.bases.gptq import unpacked

BITS = 4
ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Field, from the low bits, of each of the eight outputs of a word."""


def dequantised(qweight: Any, qzeros: Any, scales: Any) -> Any:
    """The weight of one linear module: float32 [out, in] = scale * (q - zero), exact.

    `qweight` int32 [in, out / 8], `qzeros` int32 [groups, out / 8], `scales` float16 [groups, out]; groups are runs of
    in / groups inputs.
    """
    quantised, zero = _outputs(qweight), _outputs(qzeros)
    size = quantised.shape[0] // zero.shape[0]
    zero, scale = (each.repeat_interleave(size, dim=0) for each in (zero, scales.float()))
    return ((quantised - zero).float() * scale).t().contiguous()


def _outputs(words: Any) -> Any:
    """[rows, out / 8] words to [rows, out] integers in the outputs' order."""
    fields = unpacked(words, BITS)
    rows = fields.shape[0]
    return fields.reshape(rows, -1, len(ORDER))[:, :, list(ORDER)].reshape(rows, -1)
