"""Runs a pack of trees through a causal language model in one forward. Knows transformers' masks, no adapters.

The mask is dense, [rows, 1, width, width], and additive: the one form that every attention of transformers 4.42 and 5
takes as it is, with gradients or without. A row holds a problem, some hundred tokens, so the mask is small and what it
makes attention compute in vain is some hundredths of what the linear layers compute; trees of several rows never meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from nonet.adapters.training import decoder_of
from nonet.adapters.tree import STEM, Pack
from nonet.adapters.tree_attention import attended, tree_attention
from nonet.bases.stack import is_volta

KINDS = {"llama", "mistral", "qwen2", "qwen3"}
"""Decoders, by their model_type in config.json, in which tokens meet nowhere but in attention, under the mask."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A pack as tensors on a device: `ids` and `positions` [rows, width], the additive `mask` [rows, 1, width, width],
    `rows` and `columns` [places] of the answer places.
    """

    ids: Any
    positions: Any
    mask: Any
    rows: Any
    columns: Any

    def repeated(self, times: int) -> Inputs:
        """The same pack so many times, one below the other, its places too."""
        import torch

        below = torch.arange(times, device=self.rows.device)[:, None] * len(self.ids)
        return Inputs(
            self.ids.repeat(times, 1),
            self.positions.repeat(times, 1),
            self.mask.repeat(times, 1, 1, 1),
            (self.rows + below).flatten(),
            self.columns.repeat(times),
        )


def sees_trees(model: Any, longest: int) -> bool:
    """Whether `model` answers trees as it answers their prompts, of at most `longest` tokens, one by one: not where
    layers look back less far than that, or where tokens meet elsewhere than in attention (recurrent layers).
    """
    config = model.config
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return config.model_type in KINDS and (window is None or longest <= window)


def inputs_of(pack: Pack, device: Any, dtype: Any) -> Inputs:
    """The tensors of `pack` for a model that computes in `dtype`; one pack's serve any number of adapters."""
    import torch

    def grid(values: Any) -> Any:
        return torch.tensor(values, device=device)

    segments, branches = grid(pack.segments), grid(pack.branches)
    column = torch.arange(pack.width, device=device)
    seen = (column[:, None] >= column) & (segments[:, :, None] == segments[:, None, :])
    seen &= (branches[:, None, :] == STEM) | (branches[:, :, None] == branches[:, None, :])
    mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, torch.finfo(dtype).min)
    rows, columns = grid([place.row for place in pack.places]), grid([place.column for place in pack.places])
    return Inputs(grid(pack.ids), grid(pack.positions), mask[:, None], rows, columns)


def answer_states(model: Any, inputs: Inputs, *, leave_behind: bool = False) -> Any:
    """Last hidden states [places, hidden] at the answer places, in the order of the pack's `places`.

    `model` is a causal language model, wrapped by peft or not. With `leave_behind` the last layer computes at the
    answer places alone what it can: its MLP, on a CPU also queries and output of its attention; not for a model in
    which somebody counts the tokens that its modules see, as a LoRA bank does. See
    nonet.adapters.training.vocabulary_logits for what follows.
    """
    decoder = decoder_of(model)
    last = _answers_only(decoder.layers, inputs) if leave_behind else nullcontext()
    with last, tree_attention(decoder, inputs.mask) as tree:
        named = {"attention_mask": inputs.mask, "position_ids": inputs.positions, "use_cache": False, **tree}
        hidden = decoder(input_ids=inputs.ids, **named)[0]
    return hidden if leave_behind else hidden[inputs.rows, inputs.columns]


@contextmanager
def _answers_only(layers: Any, inputs: Inputs) -> Iterator[None]:
    """In this block the last of `layers` goes on with the answer places alone, once attention has read the others."""
    from torch import nn

    whole = layers[-1]

    class Last(nn.Module):
        """After transformers' own decoder layers, the same for all of KINDS."""

        def forward(self, hidden_states: Any, *given: Any, **named: Any) -> Any:
            """What the layer gives for [rows, width, hidden], at the answer places: [places, hidden]."""
            normed, places = whole.input_layernorm(hidden_states), (inputs.rows, inputs.columns)
            if "tree" in named:
                found = attended(whole.self_attn, normed, named["position_embeddings"], inputs.mask, places)
            else:
                found = whole.self_attn(normed, *given, **named)[0][places]
            kept = hidden_states[places] + found
            kept = kept + whole.mlp(whole.post_attention_layernorm(kept))
            return (kept,) if is_volta() else kept

    layers[-1] = Last()
    try:
        yield
    finally:
        layers[-1] = whole
