"""The engine `transformers`: all adapters of a group over one loaded base, letters by tree scoring, texts one by one.

Knows peft's wrapping and unwrapping. The base is the caller's and is given back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nonet.ballot import Ballot
from nonet.base import Base, base_shapes
from nonet.engines import Adapter, Ask, Cast, Reply
from nonet.engines.adapter_files import DamagedAdapterError, read_adapter
from nonet.engines.ballots import text_ballot
from nonet.engines.letters import LetterScoring
from nonet.engines.merged import can_merge, merged
from nonet.stack import read_lora_config, unwrap


class TransformersEngine:
    """See nonet.engines.Engine."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._shapes = base_shapes(base.path)

    def answer(
        self, adapters: Sequence[Adapter], asks: Sequence[Ask], reply: Reply, answered: Callable[[int], None]
    ) -> Iterator[Cast]:
        """One adapter after the other, so that the memory of one is enough; see nonet.engines.Engine."""
        scoring = LetterScoring(asks, self._base.device) if reply.answer == "letter" else None
        for number, adapter in enumerate(adapters):
            before = number * len(asks)

            def own(done: int, before: int = before) -> None:
                answered(before + done)

            try:
                with self._worn(adapter, letters=scoring is not None) as model:
                    ballots = scoring.ballots(model, own) if scoring else self._texts(model, asks, reply, own)
            except DamagedAdapterError as error:
                yield Cast(adapter.name, (), str(error))
            else:
                yield Cast(adapter.name, ballots)

    def close(self) -> None:
        """Nothing to give back: the base is the caller's."""

    def _texts(
        self, model: Any, asks: Sequence[Ask], reply: Reply, answered: Callable[[int], None]
    ) -> tuple[Ballot, ...]:
        ballots = []
        for ask in asks:
            ballots.append(self._text(model, ask, reply))
            answered(len(ballots))
        return tuple(ballots)

    def _text(self, model: Any, ask: Ask, reply: Reply) -> Ballot:
        import torch

        ids = torch.tensor([ask.ids], device=self._base.device)
        end = self._base.tokenizer.eos_token_id
        with torch.inference_mode():
            written = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=reply.max_tokens,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=end,
            )[0, len(ask.ids) :].tolist()
        text = self._base.tokenizer.decode(written, skip_special_tokens=True)
        return text_ballot(ask, text, ended=end in written)

    @contextmanager
    def _worn(self, adapter: Adapter, *, letters: bool) -> Iterator[Any]:
        """The base wearing `adapter`, and without it again afterwards; raises DamagedAdapterError."""
        import peft

        files = read_adapter(adapter.path, self._shapes)
        try:
            config = read_lora_config(files.config)
        except ValueError as error:
            raise DamagedAdapterError(f"{adapter.path}: {error}") from None
        if letters and can_merge(self._base.model, files.config):
            with merged(self._base.model, files) as model:
                yield model
            return
        wrapped = peft.PeftModel(self._base.model, config, adapter_name="default")
        try:
            peft.set_peft_model_state_dict(wrapped, dict(files.weights))
            wrapped.eval()
            yield wrapped
        finally:
            unwrap(wrapped)
