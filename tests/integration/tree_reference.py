"""Random trees through random models: every prompt as in a forward of its own. Run by the Python of a stack.

tree_reference.py         → largest differences by kind of model and type of number, over random trees and packs
Prints one line of JSON last.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any
from unittest import mock

KINDS = ("Llama", "Mistral", "Qwen2", "Qwen3")
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 256,
    "sliding_window": None,
}
LETTERS = (3, 5, 7, 11)


def differences() -> dict[str, dict[str, float]]:
    """By kind and type: of the letters' log-probabilities the largest difference, of the gradients the relative one."""
    import torch
    import transformers

    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        if not hasattr(transformers, f"{kind}ForCausalLM"):
            continue
        plain = [("eager", torch.float32)] if kind == "Qwen2" else []
        for attention, dtype in [("sdpa", torch.float32), ("sdpa", torch.float64), *plain]:
            torch.manual_seed(0)
            config = getattr(transformers, f"{kind}Config")(**SIZES, attn_implementation=attention)
            model = getattr(transformers, f"{kind}ForCausalLM")(config).to(dtype).eval()
            keep_type(model)
            with torch.no_grad():
                for weight in model.parameters():
                    weight.mul_(2.5)  # far from the start's near-uniform answers
            found[f"{kind} {attention} {str(dtype)[6:]}"] = compared(model, Random(f"{kind} {attention}"))
    return found


def keep_type(model: Any) -> None:
    """Norms that compute in the model's type; transformers' own go through float32, whose rounding would hide what is
    looked for in float64.
    """
    from torch.nn.functional import rms_norm

    for module in model.modules():
        if hasattr(module, "variance_epsilon"):
            module.forward = lambda x, own=module: rms_norm(x, own.weight.shape, own.weight, own.variance_epsilon)


def compared(model: Any, random: Random) -> dict[str, float]:
    import torch

    from nonet.adapters.tree import packs, tree_of

    worst = {"logprobs": 0.0, "blocks": 0.0, "gradient": 0.0, "prompts": 0, "spread": 0.0}
    for _ in range(3):
        problems = [drawn_problem(random) for _ in range(random.randint(1, 5))]
        laid = packs([tree_of(prompts) for prompts in problems], random.choice([1, 60, 120, 400]))
        alone, alone_gradient = with_gradient(model, [torch.cat([one_by_one(model, p) for ps in problems for p in ps])])
        leave_behind = random.random() < 0.5
        packed, packed_gradient = with_gradient(model, [in_pack(model, pack, leave_behind) for pack in laid])
        order = sorted((place.tree, place.branch, at) for at, place in enumerate(p for k in laid for p in k.places))
        turned = [at for _, _, at in order]
        packed, blocks = packed[turned], in_blocks(model, laid, Random(len(order)))[turned]
        worst["prompts"] += len(order)
        worst["spread"] = max(worst["spread"], float(alone.max() - alone.min()))
        worst["logprobs"] = max(worst["logprobs"], float((packed - alone).abs().max()))
        worst["blocks"] = max(worst["blocks"], float((blocks - alone).abs().max()))
        apart = (packed_gradient - alone_gradient).norm() / alone_gradient.norm()
        worst["gradient"] = max(worst["gradient"], float(apart))
    return worst


def drawn_problem(random: Random) -> list[list[int]]:
    """Prompts with a common stem or none, some of them equal, or the beginning of another."""
    stem = [random.randrange(97) for _ in range(random.choice([0, 1, 7, 40]))]
    prompts = [stem + [random.randrange(97) for _ in range(random.randint(1, 15))] for _ in range(random.randint(1, 6))]
    return [*prompts, prompts[0][: max(1, len(prompts[0]) - 2)]] if random.random() < 0.3 else prompts


def one_by_one(model: Any, prompt: list[int]) -> Any:
    import torch

    from nonet.adapters.training import hidden_states, vocabulary_logits

    return vocabulary_logits(model, hidden_states(model, torch.tensor([prompt]))[:, -1])


def in_pack(model: Any, pack: Any, leave_behind: bool) -> Any:
    from nonet.adapters.training import vocabulary_logits
    from nonet.adapters.tree_forward import answer_states, inputs_of

    return vocabulary_logits(
        model, answer_states(model, inputs_of(pack, "cpu", model.dtype), leave_behind=leave_behind)
    )


def in_blocks(model: Any, laid: Any, random: Random) -> Any:
    """The letters' log-probabilities by an attention in small blocks, where the stack has one."""
    import torch

    from nonet.adapters import tree_attention

    narrow, queries = random.choice([0, 20]), random.choice([1, 5, 64])
    with torch.inference_mode(), mock.patch.multiple(tree_attention, NARROW=narrow, QUERIES=queries):
        logits = [in_pack(model, pack, random.random() < 0.5) for pack in laid]
        return torch.cat(logits)[:, list(LETTERS)].log_softmax(1)


def with_gradient(model: Any, logits: list[Any]) -> tuple[Any, Any]:
    """The letters' log-probabilities, and all gradients of the sum of the first letters' in one vector."""
    import torch

    values = torch.cat(logits)[:, list(LETTERS)].log_softmax(1)
    model.zero_grad()
    values[:, 0].sum().backward()
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    return values.detach(), gradient.clone()


if __name__ == "__main__":
    print("\n" + json.dumps(differences()))
