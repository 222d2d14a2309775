"""The canary's two moments in a compute process: recorded after a training, compared before an adapter's first answers.

Knows models and engines; the record and the rule are in `nonet.adapters.canary`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

from nonet.adapters.canary import DIGITS, QUESTIONS, Canary, Probe, ignored, read_canary, without_effect
from nonet.adapters.training import Lesson, hidden_states, vocabulary_logits
from nonet.engines import Adapter, Ask, Engine, Reply
from nonet.questions.mix import Example
from nonet.questions.problem import LETTERS
from nonet.questions.prompt import Prompt
from nonet.questions.tokens import letter_ids
from nonet.voting.ballot import Ballot

REMEDY = "None of its answers was kept. Answer with the other engine (inference: engine), or train the adapter again"


@dataclass(frozen=True, slots=True)
class Asked:
    """A `model` in evaluation mode that answers without an adapter in a block of `bare`, and with it in one of `worn`,
    which is told the number of tokens.
    """

    model: Any
    prompt: Prompt
    tokenizer: Any
    bare: Callable[[], AbstractContextManager[Any]]
    worn: Callable[[int], AbstractContextManager[Any]]


def recorded(asked: Asked, examples: Sequence[Example], lessons: Sequence[Lesson]) -> Canary:
    """The canary of an adapter: the shortest of its lessons, the earlier of equals."""
    chosen = sorted(range(len(lessons)), key=lambda at: (len(lessons[at].ids), at))[:QUESTIONS]
    found = []
    for at in chosen:
        reply = lessons[at].reply  # ends with the letter, as a text also with the end of the turn
        ids = (*lessons[at].ids, *reply[: -1 if asked.prompt.answer == "letter" else -2])
        letters = LETTERS[: len(examples[at].options)]
        tokens = letter_ids(asked.tokenizer, letters)
        with asked.bare():
            base = _answer(asked.model, ids, tokens)
        with asked.worn(len(ids)):
            found.append(Probe(ids, letters, tokens, base, _answer(asked.model, ids, tokens)))
    return tuple(found)


def _answer(model: Any, ids: Sequence[int], tokens: Sequence[int]) -> tuple[float, ...]:
    import torch

    with torch.inference_mode():
        hidden = hidden_states(model, torch.tensor([list(ids)], device=model.device))[:, -1]
        logprobs = vocabulary_logits(model, hidden)[0].float()[list(tokens)].log_softmax(0)
    return tuple(round(value, DIGITS) for value in logprobs.tolist())


def silent(
    engine: Engine, adapters: Sequence[Adapter], name: str, heard: set[tuple[str, str]], asks: Sequence[Ask]
) -> Iterator[str | None]:
    """For each adapter why it cannot answer with the engine called `name`; None where it can.

    Each is asked its canary once, one without a canary the first of `asks`, beside the base; `heard` holds those that
    were asked since the engine was loaded.
    """
    few = asks[:QUESTIONS]

    @cache
    def base() -> tuple[Ballot, ...]:
        return engine.bare(few)

    for adapter in adapters:
        key = (adapter.name, adapter.path)
        failure = None if key in heard else _failure(engine, adapter, name, few, base)
        if failure is None:
            heard.add(key)
        yield failure


def _failure(
    engine: Engine, adapter: Adapter, name: str, few: Sequence[Ask], base: Callable[[], tuple[Ballot, ...]]
) -> str | None:
    try:
        canary = read_canary(adapter.path)
    except ValueError as error:
        return str(error)
    asks = [Ask("canary", probe.ids, probe.letters, probe.letter_ids) for probe in canary] or few
    for cast in engine.answer([adapter], asks, Reply("letter", 1), lambda *_: None) if asks else ():
        if cast.failure is not None:
            return cast.failure
        given = [ballot.logprobs for ballot in cast.ballots]
        found = ignored(canary, given) if canary else without_effect(given, [ballot.logprobs for ballot in base()])
        return found and f"{adapter.path}: the engine {name} ignores this adapter: {found}. {REMEDY}"
    return None
