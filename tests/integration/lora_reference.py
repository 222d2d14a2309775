"""A LoRA bank beside peft's own modules. Run by the Python of the stacks `cpu` and `volta-cpu`.

lora_reference.py BASE  → largest relative differences of three adapters at once from each alone: of outputs and
                          gradients in float64 on a random model, without and with dropout; of outputs in float32 over
                          the stack's packed layers of the demo's base; and how much the adapters do at all
Prints one line of JSON last.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from nonet.adapters.lora import LoraBank, LoraShape, Span, file_name, fresh_weights
from nonet.adapters.recipe import TARGETS, Recipe
from nonet.adapters.training import fresh_adapter, hidden_states

RANK, SCALE = 4, 2.0
LENGTHS = (9, 14, 5)
PIECES = 2
"""Rows that each adapter has in its batch."""


def tiny_model() -> Any:
    """A random Qwen2 of two layers in float64, its norms as well: transformers' own round to float32 on the way."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=False,
    )
    model = transformers.Qwen2ForCausalLM(config)
    for name, module in list(model.named_modules()):
        if name.endswith("norm"):
            parent, _, own = name.rpartition(".")
            norm = torch.nn.Module()
            norm.weight, norm.forward = module.weight, partial(_norm, module.weight, config.rms_norm_eps)
            setattr(model.get_submodule(parent), own, norm)
    return model.double().eval().requires_grad_(False)


def _norm(weight: Any, epsilon: float, x: Any) -> Any:
    return weight * x * (x.pow(2).mean(-1, keepdim=True) + epsilon).rsqrt()


def adapter_weights(modules: Any, seed: int) -> dict[str, Any]:
    """An adapter that does something: A as it begins, B small and random."""
    import torch

    generator = torch.Generator().manual_seed(100 + seed)
    weights = fresh_weights(modules, RANK, seed)
    for name, (outputs, _) in ((name, sizes[::-1]) for name, sizes in modules.items()):
        weights[file_name(name, "B")] = torch.randn((outputs, RANK), generator=generator) * 0.1
    return weights


def apart(a: Any, b: Any) -> float:
    return float((a - b).norm() / b.norm())


def alone(model: Any, weights: Any, rows: Any, mask: Any, recipe: Recipe, seed: int) -> tuple[Any, dict[str, Any]]:
    """Hidden states by peft with one adapter, and the gradients of their squared sum by peft's file names."""
    import torch
    from peft import set_peft_model_state_dict

    from nonet.bases.stack import unwrap

    wrapped = fresh_adapter(model, recipe)
    try:
        set_peft_model_state_dict(wrapped, dict(weights))
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(next(model.parameters()).dtype)
        torch.manual_seed(seed)
        hidden = hidden_states(wrapped, rows, mask)
        (hidden[mask.bool()] ** 2).sum().backward()
        named = {n.replace(".default", ""): p.grad.clone() for n, p in wrapped.named_parameters() if p.requires_grad}
    finally:
        unwrap(wrapped)
    return hidden.detach(), named


def batch(slot: int, width: int) -> tuple[Any, Any]:
    """Two rows of different lengths for an adapter, padded to `width`."""
    import torch

    lengths = [LENGTHS[slot], max(2, LENGTHS[slot] - 3)]
    generator = torch.Generator().manual_seed(slot)
    ids = torch.zeros((PIECES, width), dtype=torch.long)
    for at, length in enumerate(lengths):
        ids[at, :length] = torch.randint(1, 50, (length,), generator=generator)
    return ids, (torch.arange(width) < torch.tensor(lengths)[:, None]).long()


def spans(width: int) -> Sequence[Span]:
    """Each adapter's rows, with the places that its tokens have in a batch of its own."""
    import torch

    found = []
    for slot, own in enumerate(LENGTHS):
        column = torch.arange(width).clamp(max=own - 1)  # padding's mask counts for nothing
        places = (torch.arange(PIECES)[:, None] * own + column).flatten()
        start = slot * PIECES * width
        found.append(Span(slot, start, start + PIECES * width, PIECES * own, places))
    return found


def gradients(dropout: float) -> dict[str, float]:
    import torch

    recipe = Recipe(rank=RANK, alpha=int(RANK * SCALE), dropout=dropout)
    model = tiny_model()
    bank = LoraBank(model, LoraShape.of(recipe), len(LENGTHS))
    width = max(LENGTHS)
    for slot in range(len(LENGTHS)):
        bank.fill(slot, adapter_weights(bank.modules, slot), scale=SCALE)
        if recipe.dropout:
            bank.seed_dropout(slot, 7 + slot)
    ids, masks = (torch.cat(parts) for parts in zip(*(batch(s, width) for s in range(len(LENGTHS))), strict=True))
    with bank.worn(), bank.routed(spans(width)):
        hidden = hidden_states(model, ids, masks)
        (hidden[masks.bool()] ** 2).sum().backward()
    worst = {"output": 0.0, "gradient": 0.0}
    for slot, own in enumerate(LENGTHS):
        rows, mask = batch(slot, own)
        expected, named = alone(model, adapter_weights(bank.modules, slot), rows, mask, recipe, 7 + slot)
        mine = hidden.detach()[slot * PIECES : (slot + 1) * PIECES, :own]
        worst["output"] = max(worst["output"], apart(mine[mask.bool()], expected[mask.bool()]))
        for name, parameter in bank.parameters(slot).items():
            theirs = named[name.replace(".default", "")]
            worst["gradient"] = max(worst["gradient"], apart(parameter.grad, theirs))
    with torch.no_grad():
        plain = hidden_states(model, ids, masks)
        worst["base"] = apart(plain, hidden_states(tiny_model(), ids, masks))
        worst["effect"] = apart(hidden, plain)
    return worst


def packed(base: str) -> dict[str, float]:
    """Two adapters on rows of one length, over packed weights, beside peft over the same."""
    import torch

    from nonet.bases.base import Form, load_base

    recipe = Recipe(rank=RANK, alpha=int(RANK * SCALE))
    model = load_base(base, "cpu", Form.PACKED).model
    bank = LoraBank(model, LoraShape(RANK, 0.0, TARGETS), 2)
    weights = [adapter_weights(bank.modules, slot) for slot in range(2)]
    for slot in range(2):
        bank.fill(slot, weights[slot], scale=SCALE)
    ids = torch.randint(300, 1000, (2, 40), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    with torch.no_grad(), bank.worn(), bank.routed([Span(0, 0, 40), Span(1, 40, 80)]):
        both = hidden_states(model, ids)
    with torch.no_grad():
        worst = {"output": 0.0, "effect": apart(both, hidden_states(model, ids))}
    worst["packed"] = sum(hasattr(model.get_submodule(name), "qweight") for name in bank.modules)
    for slot in range(2):
        expected, _ = alone(model, weights[slot], ids[slot : slot + 1], mask[:1], recipe, 0)
        worst["output"] = max(worst["output"], apart(both[slot], expected[0]))
    return worst


if __name__ == "__main__":
    measured = {"plain": gradients(0.0), "dropout": gradients(0.3), "packed": packed(sys.argv[1])}
    print("\n" + json.dumps(measured))
