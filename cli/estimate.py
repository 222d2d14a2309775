"""What a plan costs and what it can reuse. Knows tokens and keys; trains nothing and loads no model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nonet.questions.mix import Example
from nonet.questions.option_orders import turned
from nonet.questions.problem import Problem
from nonet.questions.prompt import Prompt
from nonet.questions.tokenizer import Tokenizer
from nonet.questions.tokens import Encoded, prompt_ids
from nonet.runs.plan import ADAPTERS, Plan, PlannedAdapter, ballots_scope
from nonet.stores.storage import Storage

Encode = Callable[[str, str, tuple[str, ...]], Encoded]
"""(stem, question, options) → the prompt's tokens."""


@dataclass(frozen=True, slots=True)
class TokenCount:
    """`tokens` of so many `prompts`, `cut` of which lose the tail of their stem, `longest` the longest of them."""

    prompts: int
    tokens: int
    cut: int
    longest: int


@dataclass(frozen=True, slots=True)
class AdapterEstimate:
    """One adapter of a plan: its tokens over all epochs (None: not counted), and what of it stands already."""

    adapter: PlannedAdapter
    tokens: TokenCount | None
    epochs: int
    trained: bool
    answered: int
    shards: int


@lru_cache(maxsize=2)  # a plan that is cut by tokens counts them again
def encoder(base: Path, prompt: Prompt, max_length: int) -> Encode:
    """Encodes questions as `base` will read them, each once; raises NoBaseError without a usable tokenizer."""
    tokenizer = Tokenizer(base)
    seen: dict[tuple[str, str, tuple[str, ...]], Encoded] = {}

    def encode(stem: str, question: str, options: tuple[str, ...]) -> Encoded:
        asked = (stem, question, options)
        if asked not in seen:
            seen[asked] = prompt_ids(tokenizer, prompt, stem, question, options, max_length)
        return seen[asked]

    return encode


def count_examples(encode: Encode, examples: Iterable[Example]) -> TokenCount:
    """Tokens of one epoch over `examples`; raises ValueError for a question that cannot fit."""
    return _count([encode(e.stem, e.question, e.options) for e in examples])


def count_problems(encode: Encode, problems: Iterable[Problem], permutations: int) -> TokenCount:
    """Tokens of answering `problems` once, in so many option orders; raises ValueError for what cannot fit."""
    return _count(
        [encode(p.stem, q.text, o) for p in problems for q in p.questions for o in turned(q.options, permutations)]
    )


def _count(found: Sequence[Encoded]) -> TokenCount:
    lengths = [len(encoded.ids) for encoded in found]
    return TokenCount(len(found), sum(lengths), sum(encoded.cut > 0 for encoded in found), max(lengths, default=0))


def estimate(storage: Storage, plan: Plan, tokens: Mapping[str, TokenCount]) -> tuple[AdapterEstimate, ...]:
    """Every adapter of `plan` with what `storage` has of it; `tokens` by adapter name."""
    trained = storage.committed(ADAPTERS)
    found = []
    for adapter in plan.adapters:
        answered = storage.committed(ballots_scope(adapter.key))
        keys = {plan.cell_key(adapter, shard) for shard in plan.shards}
        found.append(
            AdapterEstimate(
                adapter,
                tokens.get(adapter.name),
                plan.base_of(adapter).recipe["epochs"],
                adapter.key in trained or adapter.imported is not None,
                len(keys & answered),
                len(plan.shards),
            )
        )
    return tuple(found)
