"""Batched decoding beside transformers' own `generate`, and one reply beside many. Run by the Python of a stack.

text_reference.py BASE ROWS TOKENS  → one line of JSON: the token ids that both write greedily, the longest prompts of
the rows first; samples of all questions in one batch and of each alone; how often a budget's batch went to the base.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from nonet.bases.base import load_base
from nonet.engines import Ask, Reply
from nonet.engines.sampling import TextSampling
from nonet.questions.prompt import Prompt
from nonet.questions.rows import read_problems
from nonet.questions.tokens import letter_ids, prompt_ids


def main(base: str, rows: str, tokens: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    loaded = load_base(base, "cpu")
    model, tokenizer = loaded.model, loaded.tokenizer
    asks = []
    for problem in read_problems(Path(rows), labelled=False)[0]:
        for question in problem.questions:
            encoded = prompt_ids(tokenizer, Prompt(answer="text"), problem.stem, question.text, question.options, 512)
            asks.append(Ask(question.id, encoded.ids, question.letters, letter_ids(tokenizer, question.letters)))
    asks.sort(key=lambda ask: -len(ask.ids))
    tokenizer.eos_token = "A"  # the base writes a letter and ends; so it goes on after all letters but this one
    greedy, drawn = Reply("text", tokens), Reply("text", tokens, samples=3, temperature=1.0)
    with torch.inference_mode():
        own = TextSampling(asks, greedy, tokenizer, "cpu")._written(model, "k", asks, 0, lambda _: None)
        stock = [generated(model, ask, tokens, tokenizer.eos_token_id) for ask in asks]
        together = TextSampling(asks, drawn, tokenizer, "cpu")._written(model, "k", asks, 0, lambda _: None)
        alone = [
            reply
            for ask in asks
            for reply in TextSampling([ask], drawn, tokenizer, "cpu")._written(model, "k", [ask], 0, lambda _: None)
        ]
    heard: list[tuple[int, int]] = []
    tight = Reply("text", tokens, samples=2, temperature=1.0, budget=tokens // 2)
    ballots = TextSampling(asks, tight, tokenizer, "cpu").ballots(model, "k", lambda *told: heard.append(told))
    return {
        "widths": [len(ask.ids) for ask in asks],
        "own": [ids for ids, _ in own],
        "ended": [ended for _, ended in own],
        "stock": stock,
        "together": [ids for ids, _ in together],
        "alone": [ids for ids, _ in alone],
        "heard": heard,
        "budget": [ballot.to_json() for ballot in ballots],
    }


def generated(model: Any, ask: Ask, tokens: int, end: int) -> list[int]:
    """What transformers writes after one prompt alone, to its end."""
    import torch

    ids = torch.tensor([ask.ids])
    written: list[int] = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
    )[0, len(ask.ids) :].tolist()
    return written[: written.index(end)] if end in written else written


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
