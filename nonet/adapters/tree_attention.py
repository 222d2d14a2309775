"""Attention of trees on a CPU, block by block: a block of queries meets only the keys that it sees.

Knows masks and torch's attention, and where transformers 5 takes another one; no packs, no prompts. A dense mask makes
torch compute every pair of a row, of which a tree of four questions on a long stem sees two in five. Queries that share
keys and values (grouped heads, J. Ainslie et al., "GQA", EMNLP 2023) stand together, which its kernel for CPUs likes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nonet.bases.stack import is_volta

NAME = "nonet_tree"
"""What transformers calls this attention."""
QUERIES = 64
"""Queries of a block: on the 40 M shape (docs/performance.md) 32 to 96 are within 5 %."""
NARROW = 128
"""Rows up to this width are not cut: calls would cost more than they spare."""


@dataclass(frozen=True, slots=True)
class Block:
    """Queries `start` to `stop` of a `row`, the columns of the `keys` that any of them sees (a slice where they stand
    together), and their additive `mask` [1, 1, groups * queries, keys].
    """

    row: int
    start: int
    stop: int
    keys: Any
    mask: Any


def blocks_of(mask: Any, groups: int) -> tuple[Block, ...]:
    """The blocks of an additive mask [rows, 1, width, width], for `groups` heads to each head of keys and values."""
    found = []
    for row, own in enumerate(mask[:, 0]):
        seen = own == 0
        for start, stop in _cuts(seen.diagonal(-1).tolist()):
            columns = seen[start:stop].any(0).nonzero().flatten()
            first, last = int(columns[0]), int(columns[-1]) + 1
            keys = slice(first, last) if last - first == len(columns) else columns
            found.append(Block(row, start, stop, keys, own[start:stop, keys].repeat(groups, 1)[None, None]))
    return tuple(found)


def _cuts(follows: list[bool]) -> Iterator[tuple[int, int]]:
    """Runs of at most QUERIES tokens; a new one where a token does not see the one before it (`follows`)."""
    edges = [0, *(at for at, sees in enumerate(follows, start=1) if not sees), len(follows) + 1]
    for start, stop in pairwise(edges):
        pieces = -(-(stop - start) // QUERIES)
        for piece in range(pieces):
            yield start + (stop - start) * piece // pieces, start + (stop - start) * (piece + 1) // pieces


@contextmanager
def tree_attention(decoder: Any, mask: Any) -> Iterator[dict[str, Any]]:
    """In this block `decoder`, called with what is given here, attends by blocks; with nothing where that gains nothing
    (narrow rows), or where it is not tried: on a GPU, with gradients, and in transformers 4.42.
    """
    import torch

    if mask.device.type != "cpu" or torch.is_grad_enabled() or mask.shape[-1] <= NARROW or is_volta():
        yield {}
        return
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    config = decoder.config
    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield {"tree": blocks_of(mask, config.num_attention_heads // config.num_key_value_heads)}
    finally:
        config._attn_implementation = before


def attend(
    _module: Any, query: Any, key: Any, value: Any, _mask: Any, *, tree: Any, scaling: float, **_: Any
) -> tuple[Any, None]:
    """transformers' call of an attention: query [rows, heads, width, size], key and value [rows, fewer heads, width,
    size]; gives [rows, width, heads, size]. The mask is in `tree`.
    """
    from torch.nn.functional import scaled_dot_product_attention

    rows, heads, width, size = query.shape
    found = query.new_empty(rows, width, heads, size)
    for block in tree:
        asked = query[block.row, :, block.start : block.stop].reshape(1, key.shape[1], -1, size)
        keys, values = (given[block.row : block.row + 1, :, block.keys] for given in (key, value))
        answer = scaled_dot_product_attention(asked, keys, values, attn_mask=block.mask, scale=scaling)
        found[block.row, block.start : block.stop] = answer.view(heads, -1, size).transpose(0, 1)
    return found, None


def attended(attention: Any, states: Any, turns: tuple[Any, Any], mask: Any, places: tuple[Any, Any]) -> Any:
    """What transformers' `attention` gives at the places (rows and columns) alone, [places, hidden]: queries and the
    output's projection are computed there only. `states` is [rows, width, hidden], `turns` the cosines and sines of its
    rotary embeddings [rows, width, size].
    """
    from torch.nn.functional import scaled_dot_product_attention
    from transformers.models.llama.modeling_llama import rotate_half

    size, (rows, columns) = attention.head_dim, places

    def headed(kind: str, of: Any) -> Any:
        found = getattr(attention, f"{kind}_proj")(of).unflatten(-1, (-1, size))
        norm = getattr(attention, f"{kind}_norm", None)  # of Qwen3
        return found if norm is None else norm(found)

    def turned(of: Any, by: tuple[Any, Any]) -> Any:
        cosines, sines = (each[..., None, :] for each in by)
        return of * cosines + rotate_half(of) * sines

    query = turned(headed("q", states[places]), (turns[0][places], turns[1][places]))
    key, value = turned(headed("k", states), turns), headed("v", states)
    groups = query.shape[1] // key.shape[2]
    found = query.new_empty(query.shape)
    for row in range(len(states)):
        own = rows == row
        asked = query[own].transpose(0, 1).reshape(1, key.shape[2], -1, size)
        seen = mask[row, 0, columns[own]].repeat(groups, 1)
        keys, values = (given[row : row + 1].transpose(1, 2) for given in (key, value))
        answer = scaled_dot_product_attention(asked, keys, values, attn_mask=seen, scale=attention.scaling)
        found[own] = answer.view(query.shape[1], -1, size).transpose(0, 1)
    return attention.o_proj(found.flatten(1))
