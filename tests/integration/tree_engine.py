"""The engine `transformers` on the demo's GPTQ base beside prompts one by one under peft. Run by the Python of a stack.

tree_engine.py BASE FOLDER      → largest difference of the letters' log-probabilities, in packs, after running out of
                                  memory, and of many problems; the adapters are random and written into FOLDER
Prints one line of JSON last.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

LETTERS = ("ABCD", "ABCDE", "AB")


def random_adapter(base: Any, folder: Path, seed: int) -> None:
    """An adapter in peft's format that changes every answer."""
    import torch

    from nonet.adapters.recipe import Recipe
    from nonet.adapters.training import fresh_adapter
    from nonet.bases.stack import unwrap

    wrapped = fresh_adapter(base.model, Recipe(rank=4, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if ".lora_B." in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)
    wrapped.save_pretrained(folder)
    unwrap(wrapped)


def drawn_asks(random: Random) -> list[Any]:
    """Problems of one to five questions of other lengths and letters, some asked twice as in another option order."""
    from nonet.engines import Ask

    asks = []
    for problem in range(5):
        stem = [random.randrange(300, 1000) for _ in range(random.randint(20, 80))]
        for question in range(random.randint(1, 5)):
            letters = random.choice(LETTERS)
            tokens = tuple(range(33, 33 + len(letters)))
            for _ in range(random.choice([1, 1, 2])):
                rest = [random.randrange(300, 1000) for _ in range(random.randint(1, 30))]
                asks.append(Ask(f"p{problem}#{question}", (*stem, *rest), letters, tokens))
    return asks


def alone(base: Any, folder: Path, asks: Sequence[Any]) -> list[list[float]]:
    """A plain loop under stock peft."""
    import torch
    from peft import PeftModel

    from nonet.bases.stack import read_lora_config, unwrap

    config = read_lora_config(json.loads((folder / "adapter_config.json").read_text("utf-8")))
    model = PeftModel.from_pretrained(base.model, folder, config=config).eval()
    with torch.no_grad():
        rows = [model(input_ids=torch.tensor([ask.ids])).logits[0, -1] for ask in asks]
    unwrap(model)
    return [row[list(ask.letter_ids)].log_softmax(0).tolist() for row, ask in zip(rows, asks, strict=True)]


def answered(base: Any, folders: Sequence[Path], asks: Sequence[Any]) -> tuple[list[list[list[float]]], list[int]]:
    """The engine's log-probabilities by adapter, and the progress that it told."""
    from nonet.engines import Adapter, Reply
    from nonet.engines.transformers import TransformersEngine

    told: list[int] = []

    def hear(done: int, _written: int = 0, /) -> None:
        told.append(done)

    adapters = [Adapter(str(number), str(folder)) for number, folder in enumerate(folders)]
    casts = list(TransformersEngine(base).answer(adapters, asks, Reply("letter", 1), hear))
    return [[list(ballot.logprobs) for ballot in cast.ballots] for cast in casts], told


def short_of_memory(most: int) -> Callable[..., Any]:
    """A forward that has memory for so many tokens."""
    from nonet.adapters.tree_forward import answer_states

    def forward(model: Any, inputs: Any, **named: Any) -> Any:
        if inputs.ids.numel() > most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory")
        return answer_states(model, inputs, **named)

    return forward


def compared(path: str, folder: str) -> dict[str, Any]:
    import torch

    from nonet.bases.base import Form, load_base

    torch.set_num_threads(1)
    base = load_base(path, "cpu", Form.RESIDENT)
    folders = [Path(folder) / str(seed) for seed in (1, 2)]
    for seed, place in enumerate(folders):
        random_adapter(base, place, seed)
    asks = drawn_asks(Random(3))
    expected = [alone(base, place, asks) for place in folders]
    found: dict[str, Any] = {"asks": len(asks), "longest": max(len(ask.ids) for ask in asks)}
    found["adapters_apart"] = apart(expected[:1], expected[1:])
    rows, told = answered(base, folders, asks)
    found |= {"packed": apart(expected, rows), "told": told}
    with mock.patch("nonet.engines.letters.answer_states", short_of_memory(found["longest"] + 40)):
        rows, told = answered(base, folders, asks)
    found |= {"short": apart(expected, rows), "short_told": told}
    with mock.patch("nonet.engines.letters.answer_states", short_of_memory(10)):
        try:
            answered(base, folders, asks)
        except RuntimeError as error:
            found["refused"] = str(error)
    with mock.patch("nonet.engines.letters.sees_trees", return_value=False):
        rows, told = answered(base, folders, asks)
    found |= {"alone": apart(expected, rows), "alone_told": told}
    # a packed base, whose adapters are worn in a bank: both in one forward, then one after the other
    base = load_base(path, "cpu", Form.PACKED)
    expected = [alone(base, place, asks) for place in folders]
    rows, told = answered(base, folders, asks)
    found |= {"banked": apart(expected, rows), "banked_told": told}
    with mock.patch("nonet.engines.letters.answer_states", short_of_memory(found["longest"] + 40)):
        rows, told = answered(base, folders, asks)
    found |= {"banked_short": apart(expected, rows), "banked_short_told": told}
    with mock.patch("nonet.engines.letters.CPU_TOKENS", found["longest"] + 40):
        rows, told = answered(base, [folders[0], Path(folder) / "missing", folders[1]], asks)
    found |= {"split": apart(expected, [cast for cast in rows if cast]), "split_told": told}
    return found


def apart(some: Sequence[Any], others: Sequence[Any]) -> float:
    pairs = zip((row for cast in some for row in cast), (row for cast in others for row in cast), strict=True)
    return float(max(abs(a - b) for row, other in pairs for a, b in zip(row, other, strict=True)))


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"  # peft looks for the base of an adapter there
    print("\n" + json.dumps(compared(*sys.argv[1:])))
