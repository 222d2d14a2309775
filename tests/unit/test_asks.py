"""Prompts that are made ahead are those that would be made in time, whatever order comes next."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nonet.compute.asks import AHEAD, Asks
from nonet.compute.failure import BadInputError
from nonet.compute.orders import InferOrder
from nonet.questions.problem import Problem
from nonet.questions.prompt import Prompt
from nonet.questions.rows import read_problems
from nonet.questions.tokenizer import Tokenizer
from tests.small_batch import DEMO, ROOT

BASE = ROOT / "models" / "demo-base"
ORDER = InferOrder(
    id="test-000",
    base=str(BASE),
    adapters=(),
    problems=str(DEMO / "test.jsonl"),
    start=0,
    stop=4,
    prompt=Prompt(),
    engine="transformers",
    max_length=512,
    max_tokens=1,
    permutations=1,
    max_loras=1,
    rank=8,
    threads=1,
    device="cuda",
)


@pytest.fixture(scope="module")
def problems() -> tuple[Problem, ...]:
    return read_problems(Path(ORDER.problems), labelled=False)[0][:20]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(BASE)


class Counting:
    """A tokenizer that counts what it encodes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.calls = 0

    def encode(self, *given: Any, **more: Any) -> Any:
        self.calls += 1
        return self._tokenizer.encode(*given, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def next_of(order: InferOrder, shards: int = 1) -> InferOrder:
    size = order.stop - order.start
    return replace(order, start=order.start + shards * size, stop=order.stop + shards * size)


def wait(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("shards", range(1, AHEAD + 1))
def test_the_next_shards_are_there_when_they_are_asked_for(
    problems: tuple[Problem, ...], tokenizer: Tokenizer, shards: int
) -> None:
    asks, late = Asks(lambda _: Tokenizer(BASE)), Counting(tokenizer)
    asks.take(ORDER, problems[:4], tokenizer)
    asks.prepare(ORDER, problems[4:])
    wait(lambda: len(asks._made) == AHEAD * 4)
    wanted = next_of(ORDER, shards)
    found = asks.take(wanted, problems[wanted.start : wanted.stop], late)
    assert late.calls == 0
    assert found == Asks(lambda _: None).take(wanted, problems[wanted.start : wanted.stop], tokenizer)


def test_another_prompt_another_row_or_half_a_shard_is_made_in_time(
    problems: tuple[Problem, ...], tokenizer: Tokenizer
) -> None:
    def load(_: str) -> Tokenizer:
        time.sleep(0.05)  # so that the next order comes before anything is made
        return Tokenizer(BASE)

    asks = Asks(load)
    other = replace(ORDER, start=4, stop=8, prompt=Prompt(system="another"))
    for order, rows in ((ORDER, problems[:4]), (other, problems[4:8]), (next_of(ORDER), problems[8:12])):
        found = asks.take(order, rows, tokenizer)
        assert found == Asks(lambda _: None).take(order, rows, tokenizer)
        asks.prepare(order, problems[order.stop :])
    asks.rest()
    assert asks._thread is None


def test_a_row_that_does_not_fit_is_told_by_the_order_that_asks_for_it(
    problems: tuple[Problem, ...], tokenizer: Tokenizer
) -> None:
    asks, short = Asks(lambda _: Tokenizer(BASE)), replace(ORDER, max_length=16)
    asks.prepare(short, problems[4:])
    wait(lambda: asks._thread is not None and not asks._thread.is_alive())
    with pytest.raises(BadInputError, match=f"{problems[4].id}#0: a question takes"):
        asks.take(next_of(short), problems[4:8], tokenizer)
