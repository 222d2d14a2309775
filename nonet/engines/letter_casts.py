"""Whose adapters score letters together, and how a base wears them: merged, in a bank, or by peft.

Knows the three ways and when each is the fastest; knows no prompts. Merged, one after another, where the base is plain
float32 numbers (`nonet.engines.merged`). Else in a bank, as many at once as fill a forward with what they are asked:
a few prompts of each of nine adapters unpack the weights once, not nine times. By peft what is no plain adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from nonet.ballot import Ballot
from nonet.engines import Adapter, Ask, Cast
from nonet.engines.adapter_files import AdapterFiles, DamagedAdapterError, Shapes, read_adapter
from nonet.engines.letters import LetterScoring
from nonet.engines.merged import can_merge, merged
from nonet.lean_layers import lean
from nonet.lora import LoraBank, LoraShape
from nonet.stack import is_volta

Wear = Callable[[AdapterFiles], AbstractContextManager[Any]]
"""The base wearing an adapter by peft; raises DamagedAdapterError."""


class LetterCasts:
    """The casts of all adapters over `model`, whose modules have `shapes`, on the letters of `asks`."""

    def __init__(self, model: Any, shapes: Shapes, device: str, wear: Wear, asks: Sequence[Ask]) -> None:
        self._model = model
        self._shapes = shapes
        self._wear = wear
        self._asks = asks
        self._scoring = LetterScoring(asks, device)

    def casts(self, adapters: Sequence[Adapter], answered: Callable[[int], None]) -> Iterator[Cast]:
        """See nonet.engines.Engine.answer."""
        done = 0

        def own(more: int) -> None:
            answered(done + more)

        waiting: list[tuple[Adapter, AdapterFiles]] = []
        for adapter in adapters:
            try:
                files = read_adapter(adapter.path, self._shapes)
                if self._fits_a_bank(files):
                    waiting.append((adapter, files))
                else:
                    yield Cast(adapter.name, self._alone(files, own))
                    done += len(self._asks)
            except DamagedAdapterError as error:
                yield Cast(adapter.name, (), str(error))
                done += len(self._asks)
            if len(waiting) == self._scoring.together or (waiting and adapter is adapters[-1]):
                yield from self._together(waiting, own)
                done += len(waiting) * len(self._asks)
                waiting = []

    def _fits_a_bank(self, files: AdapterFiles) -> bool:
        return files.is_plain and not can_merge(self._model, files.config["target_modules"])

    def _alone(self, files: AdapterFiles, answered: Callable[[int], None]) -> tuple[Ballot, ...]:
        with merged(self._model, files) if files.is_plain else self._wear(files) as model:
            return self._scoring.ballots(model, answered)

    def _together(
        self, group: Sequence[tuple[Adapter, AdapterFiles]], answered: Callable[[int], None]
    ) -> Iterator[Cast]:
        configs = [files.config for _, files in group]
        targets = sorted({target for config in configs for target in config["target_modules"]})
        bank = LoraBank(self._model, LoraShape(max(config["r"] for config in configs), 0.0, tuple(targets)), len(group))
        for slot, (_, files) in enumerate(group):
            bank.fill(slot, files.weights, scale=files.scale)
        lean_on_gpu = nullcontext() if bank.device.type == "cpu" or is_volta() else lean(self._model)
        with bank.worn(), lean_on_gpu:
            found = self._scoring.ballots_of_all(self._model, bank, len(group), answered)
        for (adapter, _), ballots in zip(group, found, strict=True):
            yield Cast(adapter.name, ballots)
