"""The order "infer": from rows and adapters to ballots. Knows files and events; the answers are an engine's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from nonet.compute.canary import silent
from nonet.compute.failure import BadInputError, input_file
from nonet.compute.orders import InferOrder
from nonet.compute.peak import peak_memory
from nonet.compute.telling import Telling
from nonet.compute.warm import Warm
from nonet.compute.waves import by_question, until_decided
from nonet.engines import Adapter, Answered, Ask, Cast, Engine, Reply
from nonet.engines.transformers import TransformersEngine
from nonet.plural import counted
from nonet.questions.defect import Defect
from nonet.questions.option_orders import turned
from nonet.questions.problem import Problem
from nonet.questions.rows import read_problems
from nonet.runs.attempt import ErrorClass
from nonet.voting.decided import Polls


def carry_out(order: InferOrder, warm: Warm, telling: Telling) -> dict[str, Any]:
    """Answer; the result of the order's last event. Raises DrainedError, BadInputError, EngineError, ..."""
    started = time.monotonic()
    problems, following = _problems(order)
    total = sum(len(turned(q.options, order.permutations)) for p in problems for q in p.questions) * len(order.adapters)
    telling.progress("loading", done=0, total=total)
    engine, tokenizer, was_warm = _engine(order, warm)
    asks, cut = warm.asks.take(order, problems, tokenizer)
    if order.device != "cpu":  # whose cores are the engine's
        warm.asks.prepare(order, following)
    reply = Reply(order.prompt.answer, order.max_tokens, order.samples, order.temperature, order.token_budget)

    begun, ended = time.monotonic(), 0
    each = sum(len(ask.ids) for ask in asks) / max(1, len(asks))

    def answered(done: int, written: int = 0, /) -> None:
        nonlocal ended
        ended = done
        texts = {"written": written} if reply.answer == "text" else {}
        tokens = round(done * each) + written  # of prompts and of texts; a letter is one token
        progress = {"done": done, "total": total, "questions": done, "tokens": tokens} | texts
        telling.progress("answering", last=done == total, **progress)
        telling.stop_here(done)

    answered(0)
    cached, unasked = 0, 0
    for cast in _casts(order, engine, warm, asks, reply, answered):
        cached += cast.cached
        if cast.failure is None:
            unasked += sum(not ballot.asked for ballot in cast.ballots)
            ballots = [ballot.to_json() for ballot in cast.ballots]
            pace = (time.monotonic() - begun) / max(1, ended)  # an engine may have prompts of all adapters in work
            cost = {"seconds": round(pace * len(asks), 4), "peak_memory_bytes": peak_memory()}
            telling.event("ballots", adapter=cast.adapter, ballots=ballots, **cost)
        else:
            telling.event("failed", adapter=cast.adapter, error_class=ErrorClass.BAD_INPUT, error=cast.failure)
    seconds = round(time.monotonic() - started, 3)
    counts = {"prompts": total, "cut": cut, "cached_tokens": cached, "unasked": unasked}
    return {"seconds": seconds, **counts, "warm": was_warm}


def _casts(
    order: InferOrder,
    engine: Engine,
    warm: Warm,
    asks: Sequence[Ask],
    reply: Reply,
    answered: Answered,
) -> Iterator[Cast]:
    """A cast of each adapter, by question; of those that the engine ignores, why they were not asked."""
    passed, tokens, now = 0, 0, 0

    def pass_over(prompts: int) -> None:
        nonlocal passed
        passed += prompts
        answered(passed, tokens)

    def one_pass(adapters: Sequence[Adapter], asked: Sequence[Ask]) -> Iterator[Cast]:
        nonlocal passed, tokens, now
        now = 0

        def own(done: int, written: int = 0, /) -> None:
            nonlocal now
            now = written
            answered(passed + done, tokens + written)

        yield from engine.answer(adapters, asked, reply, own)
        passed, tokens = passed + len(adapters) * len(asked), tokens + now

    why = dict(zip(order.adapters, silent(engine, order.adapters, order.engine, warm.heard, asks), strict=True))
    able = [adapter for adapter, failure in why.items() if failure is None]
    yield from (Cast(adapter.name, (), failure) for adapter, failure in why.items() if failure is not None)
    pass_over((len(why) - len(able)) * len(asks))
    if order.decide is not None:
        letters = {ask.question_id: ask.letters for ask in asks}
        cast = {name: dict(own) for name, own in order.decide.cast.items()}
        polls = Polls(letters, order.decide.voters, order.samples, cast)
        yield from until_decided(one_pass, able, asks, polls, pass_over)
        return
    for found in one_pass(able, asks):
        yield found if found.failure is not None else by_question(asks, found)


def _problems(order: InferOrder) -> tuple[Sequence[Problem], Sequence[Problem]]:
    """The rows of an order, and those after them."""
    path = Path(input_file(order.problems, "problems"))
    status = path.stat()
    problems, defects = _read(path, (status.st_mtime_ns, status.st_size, status.st_ino))
    if defects:
        raise BadInputError(f"{order.problems}: {counted(len(defects), 'defect')}, first: {defects[0]}")
    if not order.start <= order.stop <= len(problems):
        raise BadInputError(
            f"{order.problems}: rows {order.start} to {order.stop} are asked for, the file has {len(problems)}"
        )
    return problems[order.start : order.stop], problems[order.stop :]


@lru_cache(maxsize=2)  # of one run: shard after shard is cut from the same file
def _read(path: Path, _stamp: tuple[int, ...]) -> tuple[tuple[Problem, ...], tuple[Defect, ...]]:
    return read_problems(path, labelled=False)


def _engine(order: InferOrder, warm: Warm) -> tuple[Engine, Any, bool]:
    """The engine, the base's tokenizer, and whether they were loaded already."""
    if order.engine == "vllm":
        engine, was_warm = warm.vllm(order)
        return engine, warm.tokenizer(order.base), was_warm
    base, was_warm = warm.base(order.base, order.device, order.dtype)
    return TransformersEngine(base), base.tokenizer, was_warm
