"""The engine `transformers`: all adapters over one loaded base, letters by tree scoring, texts by batched decoding.

Knows peft's wrapping and unwrapping; `nonet.engines.letter_casts` knows how letters go without it. The base is the
caller's and is given back as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nonet.bases.base import Base, base_shapes
from nonet.bases.stack import read_lora_config, unwrap
from nonet.engines import Adapter, Answered, Ask, Cast, Reply
from nonet.engines.adapter_files import AdapterFiles, DamagedAdapterError, read_adapter
from nonet.engines.letter_casts import LetterCasts
from nonet.engines.letters import LetterScoring
from nonet.engines.sampling import TextSampling
from nonet.voting.ballot import Ballot


class TransformersEngine:
    """See nonet.engines.Engine."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._shapes = base_shapes(base.path)

    def answer(
        self, adapters: Sequence[Adapter], asks: Sequence[Ask], reply: Reply, answered: Answered
    ) -> Iterator[Cast]:
        """One adapter after the other, so that the memory of one is enough; see nonet.engines.Engine."""
        if reply.answer == "letter":
            letters = LetterCasts(self._base.model, self._shapes, self._base.device, self._worn, asks)
            yield from letters.casts(adapters, answered)
            return
        texts = TextSampling(asks, reply, self._base.tokenizer, self._base.device)
        written = 0
        for number, adapter in enumerate(adapters):
            before, tokens = number * len(asks), written

            def own(done: int, more: int = 0, /, before: int = before, tokens: int = tokens) -> None:
                nonlocal written
                written = tokens + more
                answered(before + done, written)

            try:
                with self._worn(read_adapter(adapter.path, self._shapes)) as model:
                    ballots = texts.ballots(model, adapter.name, own)
            except DamagedAdapterError as error:
                yield Cast(adapter.name, (), str(error))
            else:
                yield Cast(adapter.name, ballots)

    def bare(self, asks: Sequence[Ask]) -> tuple[Ballot, ...]:
        """See nonet.engines.Engine."""
        return LetterScoring(asks, self._base.device).ballots(self._base.model, lambda _: None)

    def close(self) -> None:
        """Nothing to give back: the base is the caller's."""

    @contextmanager
    def _worn(self, files: AdapterFiles) -> Iterator[Any]:
        """The base wearing an adapter, and without it again afterwards; raises DamagedAdapterError."""
        import peft

        try:
            config = read_lora_config(files.config)
        except ValueError as error:
            raise DamagedAdapterError(f"{files.folder}: {error}") from None
        wrapped = peft.PeftModel(self._base.model, config, adapter_name="default")
        try:
            peft.set_peft_model_state_dict(wrapped, dict(files.weights))
            wrapped.eval()
            yield wrapped
        finally:
            unwrap(wrapped)
