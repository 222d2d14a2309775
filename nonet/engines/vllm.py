"""The engine `vllm`: one vLLM engine for all adapters of a group, a LoRA request per prompt.

Knows vLLM's offline engine, run inside this process: no server, no child that could outlive it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nonet.ballot import Ballot
from nonet.base import base_config, base_shapes
from nonet.engines import Adapter, Ask, Cast, EngineError, Reply
from nonet.engines.adapter_files import DamagedAdapterError
from nonet.engines.ballots import letter_ballot, text_ballot
from nonet.engines.vllm_plain import int4_runs_here, plain_settings
from nonet.engines.vllm_slots import Slots
from nonet.weights import quantisation

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
        self, adapters: Sequence[Adapter], asks: Sequence[Ask], reply: Reply, answered: Callable[[int], None]
    ) -> Iterator[Cast]:
        """All prompts of all adapters are in the engine at once, adapter by adapter, so that the questions of a problem
        follow one another and find its blocks in the cache; see nonet.engines.Engine.
        """
        loaded: dict[str, Any] = {}
        waiting: dict[str, tuple[str, int]] = {}
        try:
            for adapter in adapters:
                try:
                    loaded[adapter.name] = self._slots.request(adapter)
                except DamagedAdapterError as error:
                    yield Cast(adapter.name, (), str(error))
            failed = (len(adapters) - len(loaded)) * len(asks)
            for name, lora in loaded.items():
                for at, ask in enumerate(asks):
                    waiting[self._add(ask, reply, lora)] = (name, at)
            if not asks:
                yield from (Cast(name, ()) for name in loaded)
            yield from self._collect(waiting, asks, reply, lambda done: answered(failed + done))
        finally:
            if waiting:
                self._engine.abort_request(list(waiting))

    def close(self) -> None:
        """Give back the engine's memory."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.engine_core.shutdown()

    def _add(self, ask: Ask, reply: Reply, lora: Any) -> str:
        from vllm import SamplingParams

        if reply.answer == "letter":
            wanted = SamplingParams(
                temperature=0.0,
                max_tokens=1,
                allowed_token_ids=list(ask.letter_ids),
                logprobs=len(ask.letter_ids),
                detokenize=False,
            )
        else:
            wanted = SamplingParams(temperature=0.0, max_tokens=reply.max_tokens)
        self._requests += 1
        request = str(self._requests)
        prompt = {"prompt_token_ids": list(ask.ids)}
        self._engine.add_request(request, prompt, wanted, lora_request=lora)
        return request

    def _collect(
        self, waiting: dict[str, tuple[str, int]], asks: Sequence[Ask], reply: Reply, answered: Callable[[int], None]
    ) -> Iterator[Cast]:
        """Run the engine until nothing waits; what is `waiting` shrinks as it goes."""
        done: dict[str, dict[int, Ballot]] = {}
        cached: Counter[str] = Counter()
        finished = 0
        while waiting:
            if not self._engine.has_unfinished_requests():
                raise EngineError(f"vLLM gave no reply to {len(waiting)} prompts")
            for output in self._engine.step():
                if not output.finished:
                    continue
                name, at = waiting.pop(output.request_id)
                own = done.setdefault(name, {})
                own[at] = _ballot(asks[at], reply, output.outputs[0])
                cached[name] += output.num_cached_tokens or 0
                finished += 1
                if len(own) == len(asks):
                    yield Cast(name, tuple(own[at] for at in range(len(asks))), cached=cached[name])
            answered(finished)


def _ballot(ask: Ask, reply: Reply, output: Any) -> Ballot:
    if reply.answer == "text":
        return text_ballot(ask, output.text, ended=output.finish_reason == "stop")
    given: Mapping[int, Any] = output.logprobs[0] if output.logprobs else {}
    lacking = [letter for letter, token in zip(ask.letters, ask.letter_ids, strict=True) if token not in given]
    if lacking:
        raise EngineError(f"{ask.question_id}: vLLM gave no log-probability for {lacking}")
    return letter_ballot(ask, [given[token].logprob for token in ask.letter_ids])


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
