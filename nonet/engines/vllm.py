"""The engine `vllm`: one vLLM engine for all adapters of a group, a LoRA request per prompt.

Knows vLLM's offline engine, run inside this process: no server, no child that could outlive it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nonet.bases.base import base_config, base_shapes
from nonet.bases.weights import quantisation
from nonet.engines import Adapter, Answered, Ask, Cast, EngineError, Reply
from nonet.engines.adapter_files import DamagedAdapterError
from nonet.engines.vllm_plain import int4_runs_here, plain_settings
from nonet.engines.vllm_replies import Replies
from nonet.engines.vllm_slots import Slots
from nonet.voting.ballot import Ballot

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine lives and dies with this process
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # two engines on one host must not bind to the same cores
    "VLLM_CPU_INT4_W4A8": "0",  # int4 weights, but activations as they are
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""Set, where the worker has not, before vLLM is imported."""
CPU_ENVIRONMENT = {
    "TORCHDYNAMO_DISABLE": "1",  # on a CPU vLLM compiles small functions for 20 s to gain nothing
}
CPU_CACHE = 1 << 30
"""Bytes of key-value cache on a CPU; on a GPU vLLM takes what is free."""
CPU_BLOCK = 32
"""Tokens of a cache block on a CPU, the fewest that its kernels take: vLLM's own 128 are more than many a stem has, and
only whole blocks are shared. On a GPU they are 16."""
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM makes room for."""
MAX_LETTERS = 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """What an engine is built for: tokens of prompt and reply together, adapters at once, their highest rank, and
    whether replies are texts: then a GPU's graphs pay for the minute that their capture takes.
    """

    tokens: int
    adapters: int
    rank: int
    texts: bool = False


class VllmEngine:
    """See nonet.engines.Engine. Adapters stay in their slots from one call to the next."""

    def __init__(self, base: str, device: str, sizes: Sizes, threads: int | None, dtype: str | None = None) -> None:
        """Build the engine (half a minute on a CPU); raises EngineError, ValueError for ranks beyond vLLM's."""
        for name, value in (ENVIRONMENT | (CPU_ENVIRONMENT if device == "cpu" else {})).items():
            os.environ.setdefault(name, value)
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(threads)
        self._requests = 0
        self._engine = _built(base, device, sizes, dtype)
        self._slots = Slots(self._engine, base_shapes(base), sizes.adapters)

    def answer(
        self, adapters: Sequence[Adapter], asks: Sequence[Ask], reply: Reply, answered: Answered
    ) -> Iterator[Cast]:
        """All prompts of all adapters are in the engine at once, adapter by adapter, so that the questions of a problem
        follow one another and find its blocks in the cache; see nonet.engines.Engine.
        """
        loaded: dict[str, Any] = {}
        waiting: dict[str, tuple[Replies, int]] = {}
        try:
            for adapter in adapters:
                try:
                    loaded[adapter.name] = self._slots.request(adapter)
                except DamagedAdapterError as error:
                    yield Cast(adapter.name, (), str(error))
            failed = (len(adapters) - len(loaded)) * len(asks)
            for name, lora in loaded.items():
                replies = Replies(name, asks, reply)
                for number in range(len(asks) * reply.samples):
                    waiting[self._add(replies, number, lora)] = (replies, number)
            if not asks:
                yield from (Cast(name, ()) for name in loaded)
            yield from self._collect(waiting, lambda done, written: answered(failed + done, written))
        finally:
            if waiting:
                self._engine.abort_request(list(waiting))

    def bare(self, asks: Sequence[Ask]) -> tuple[Ballot, ...]:
        """See nonet.engines.Engine."""
        replies = Replies("", asks, Reply("letter", 1))
        waiting = {self._add(replies, number, None): (replies, number) for number in range(len(asks))}
        return next(self._collect(waiting, lambda *_: None)).ballots if asks else ()

    def close(self) -> None:
        """Give back the engine's memory."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.engine_core.shutdown()

    def _add(self, replies: Replies, number: int, lora: Any) -> str:
        self._requests += 1
        request = str(self._requests)
        prompt = {"prompt_token_ids": list(replies.ask(number).ids)}
        self._engine.add_request(request, prompt, replies.wanted(number), lora_request=lora)
        return request

    def _collect(self, waiting: dict[str, tuple[Replies, int]], answered: Callable[[int, int], None]) -> Iterator[Cast]:
        """Run the engine until nothing waits; what is `waiting` shrinks as it goes."""
        prompts = 0
        written: Counter[str] = Counter()
        while waiting:
            if not self._engine.has_unfinished_requests():
                raise EngineError(f"vLLM gave no reply to {len(waiting)} prompts")
            for output in self._engine.step():
                if output.request_id not in waiting:  # beyond the budget, and on its way when it was taken back
                    continue
                written[output.request_id] = len(output.outputs[0].token_ids)
                if not output.finished:
                    continue
                replies, number = waiting.pop(output.request_id)
                replies.take(number, output)
                self._take_back(waiting, replies)
                if replies.complete:
                    prompts += len(replies.asks)
                    yield replies.cast()
            working = {id(replies): replies for replies, _ in waiting.values()}
            answered(prompts + sum(replies.prompts for replies in working.values()), written.total())

    def _take_back(self, waiting: dict[str, tuple[Replies, int]], replies: Replies) -> None:
        """Take back the requests whose replies would not count."""
        if replies.reply.budget is None or replies.beyond is None:
            return
        late = [at for at, (of, number) in waiting.items() if of is replies and number >= replies.beyond]
        for request in late:
            del waiting[request]
        if late:
            self._engine.abort_request(late)


def _built(base: str, device: str, sizes: Sizes, dtype: str | None) -> Any:
    from vllm import EngineArgs, LLMEngine

    rank = next((rank for rank in RANKS if rank >= sizes.rank), None)
    if rank is None:
        raise ValueError(f"rank {sizes.rank}: vLLM takes {RANKS[-1]} at most; use the engine transformers")
    settings = _cpu_settings(base) if device == "cpu" else {"dtype": "auto", "enforce_eager": not sizes.texts}
    if dtype is not None:
        settings["dtype"] = dtype
    try:
        return LLMEngine.from_engine_args(
            EngineArgs(
                model=base,
                max_model_len=sizes.tokens,
                enable_lora=True,
                max_loras=sizes.adapters,
                max_cpu_loras=sizes.adapters,
                max_lora_rank=rank,
                enable_prefix_caching=True,
                max_logprobs=MAX_LETTERS,
                logprobs_mode="processed_logprobs",
                trust_remote_code=False,
                disable_log_stats=True,
                seed=0,
                **settings,
            )
        )
    except Exception as error:
        raise EngineError(f"vLLM did not start on {base}: {error}") from error


def _cpu_settings(base: str) -> dict[str, Any]:
    how = quantisation(base_config(base))
    numbers = "float32" if how is None else "bfloat16"  # as the engine transformers; of int4 kernels there is no other
    settings: dict[str, Any] = {
        "dtype": numbers,
        "kv_cache_memory_bytes": CPU_CACHE,
        "block_size": CPU_BLOCK,
        "enforce_eager": True,
    }
    if how is not None and (how.method == "awq" or not int4_runs_here()):
        settings |= plain_settings()
    return settings
