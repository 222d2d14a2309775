"""Whose adapters score letters together, and how a base wears them: merged, in a bank, or by peft.

Knows the three ways and when each is the fastest; knows no prompts. Merged, one after another, where the base is plain
float32 numbers (`nonet.engines.merged`). Else in a bank, as many at once as fill a forward with what they are asked:
a few prompts of each of nine adapters unpack the weights once, not nine times. By peft what is no plain adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from nonet.adapters.lora import LoraBank, LoraShape
from nonet.bases.lean_layers import lean_on_gpu
from nonet.engines import Adapter, Ask, Cast
from nonet.engines.adapter_files import AdapterFiles, DamagedAdapterError, Shapes, read_adapter
from nonet.engines.letters import LetterScoring
from nonet.engines.merged import can_merge, merged
from nonet.limits.out_of_memory import is_out_of_memory
from nonet.voting.ballot import Ballot

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
        done, told = 0, 0

        def own(more: int) -> None:
            nonlocal told
            told = max(told, done + more)  # what is done again for lack of memory is not told twice
            answered(told)

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
        try:
            found = self._banked([files for _, files in group], answered)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(group) == 1:
                raise
            found = []
        if not found:  # memory holds so few adapters with a prompt of each: half as many then
            half = len(group) // 2
            yield from self._together(group[:half], answered)
            yield from self._together(group[half:], lambda more: answered(half * len(self._asks) + more))
            return
        for (adapter, _), ballots in zip(group, found, strict=True):
            yield Cast(adapter.name, ballots)

    def _banked(self, group: Sequence[AdapterFiles], answered: Callable[[int], None]) -> list[tuple[Ballot, ...]]:
        """The ballots of each adapter, all in the same forwards."""
        targets = sorted({target for files in group for target in files.config["target_modules"]})
        shape = LoraShape(max(files.config["r"] for files in group), 0.0, tuple(targets))
        bank = LoraBank(self._model, shape, len(group))
        for slot, files in enumerate(group):
            bank.fill(slot, files.weights, scale=files.scale)
        with bank.worn(), lean_on_gpu(self._model):
            return self._scoring.ballots_of_all(self._model, bank, len(group), answered)
