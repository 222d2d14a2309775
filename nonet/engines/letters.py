"""Letters by tree scoring: of each problem the stem once, its questions as branches, several problems in one forward.

Knows asks, packs, a budget of tokens and whose tokens are whose in a bank of adapters. Loads no adapter: the model that
it is given wears them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any

from nonet.adapters.lora import LoraBank, Span
from nonet.adapters.training import hidden_states, vocabulary_logits
from nonet.adapters.tree import Pack, Tree, packs, tree_of
from nonet.adapters.tree_forward import Inputs, answer_states, inputs_of, sees_trees
from nonet.engines import Ask
from nonet.engines.ballots import letter_ballot
from nonet.limits.out_of_memory import is_out_of_memory
from nonet.voting.ballot import Ballot

CPU_TOKENS = 2048
"""Tokens of a forward on a CPU: from some hundred on a core computes as fast as it can, and what a forward holds of
them besides the weights should stay small.
"""
GPU_TOKENS = 8192
"""Tokens of a forward on a GPU: packed weights are unpacked once for all of them, so that costs some hundredths of the
products at this size; of a base of 32 billion parameters they hold 2 GB.
"""

_Piece = tuple[Tree, tuple[int, ...]]
"""A tree, and the number of the ask at each of its branches."""
_Laid = tuple[Pack, list[_Piece], list[int]]
"""A pack, the pieces that it holds, and the number of the ask at each of its places."""


class LetterScoring:
    """The asks of one order, laid out once and answered by one adapter, or by several at once, after another."""

    def __init__(self, asks: Sequence[Ask], device: str) -> None:
        self._asks = asks
        self._device = device
        problems = groupby(range(len(asks)), key=lambda at: asks[at].question_id.rpartition("#")[0])
        groups = [tuple(numbers) for _, numbers in problems]
        trees = [(tree_of([asks[at].ids for at in numbers]), numbers) for numbers in groups]
        self._budget = CPU_TOKENS if device == "cpu" else GPU_TOKENS
        self._laid = _laid_out(trees, self._budget)
        self.tokens = sum(tree.tokens for tree, _ in trees)

    @property
    def together(self) -> int:
        """How many adapters' asks one forward holds, all of them: 1 where those of one adapter fill it."""
        return max(1, self._budget // max(1, self.tokens))

    def ballots(self, model: Any, answered: Callable[[int], None]) -> tuple[Ballot, ...]:
        """The ballots of the adapter that `model` wears, in the order of the asks; `answered` hears how many prompts
        of this adapter are done, and may raise. Raises EngineError.
        """
        return self._scored(model, _Alone(), answered)[0]

    def ballots_of_all(
        self, model: Any, bank: LoraBank, slots: int, answered: Callable[[int], None]
    ) -> list[tuple[Ballot, ...]]:
        """The same of each adapter in the first `slots` slots of the bank that `model` wears, all in the same forwards;
        `answered` hears of the prompts of all.
        """
        return self._scored(model, _Banked(bank, slots), answered)

    def _scored(self, model: Any, worn: _Alone | _Banked, answered: Callable[[int], None]) -> list[tuple[Ballot, ...]]:
        import torch

        found: list[dict[int, Ballot]] = [{} for _ in range(worn.adapters)]
        longest = max((len(ask.ids) for ask in self._asks), default=0)
        scored = self._in_packs(model, worn) if sees_trees(model, longest) else self._one_by_one(model, worn)
        with torch.inference_mode():
            for numbers, hidden in scored:
                logits = vocabulary_logits(model, hidden).float().view(worn.adapters, len(numbers), -1)
                for own, rows in zip(found, logits, strict=True):
                    for at, row in zip(numbers, rows, strict=True):
                        ask = self._asks[at]
                        own[at] = letter_ballot(ask, row[list(ask.letter_ids)].log_softmax(0).tolist())
                answered(sum(map(len, found)))
        return [tuple(own[at] for at in range(len(self._asks))) for own in found]

    def _in_packs(self, model: Any, worn: _Alone | _Banked) -> Iterator[tuple[Sequence[int], Any]]:
        """Numbers of asks and their hidden states [adapters * asks, hidden], pack by pack."""
        at = 0
        while at < len(self._laid):
            pack, _, numbers = self._laid[at]
            try:
                hidden = worn.states(model, inputs_of(pack, self._device, model.dtype))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(numbers) == 1:
                    raise
                hidden = None
            if hidden is None:
                self._halve(at)
            else:
                yield numbers, hidden
                at += 1

    def _halve(self, at: int) -> None:
        """Lay out anew, in half as many tokens, what is left from the pack `at` on, for which memory ran out."""
        import torch

        if self._device != "cpu":
            torch.cuda.empty_cache()
        pack = self._laid[at][0]
        rest = [piece for _, pieces, _ in self._laid[at:] for piece in pieces]
        self._laid[at:] = _laid_out(rest, max(1, len(pack.ids) * pack.width // 2))

    def _one_by_one(self, model: Any, worn: _Alone | _Banked) -> Iterator[tuple[Sequence[int], Any]]:
        """The same, prompt by prompt, for a base whose attention knows no trees."""
        import torch

        for at, ask in enumerate(self._asks):
            ids = torch.tensor([ask.ids], device=self._device).repeat(worn.adapters, 1)
            with worn.routed(len(ask.ids)):
                hidden = hidden_states(model, ids)[:, -1]
            yield [at], hidden


class _Alone:
    """The one adapter that a model wears."""

    adapters = 1

    def states(self, model: Any, inputs: Inputs) -> Any:
        return answer_states(model, inputs, leave_behind=True)

    def routed(self, _tokens: int) -> AbstractContextManager[None]:
        return nullcontext()


class _Banked:
    """The adapters in the first slots of a bank: the rows of an input are those of one adapter after another's."""

    def __init__(self, bank: LoraBank, adapters: int) -> None:
        self.adapters = adapters
        self._bank = bank

    def states(self, model: Any, inputs: Inputs) -> Any:
        with self.routed(inputs.ids.numel()):
            return answer_states(model, inputs.repeated(self.adapters))

    def routed(self, tokens: int) -> AbstractContextManager[None]:
        """For inputs of so many tokens of each adapter."""
        return self._bank.routed([Span(slot, slot * tokens, (slot + 1) * tokens) for slot in range(self.adapters)])


def _laid_out(pieces: Sequence[_Piece], budget: int) -> list[_Laid]:
    found = []
    for pack in packs([tree for tree, _ in pieces], budget):
        numbers = [pieces[place.tree][1][place.branch] for place in pack.places]
        held = [_part(pieces[segment.tree], segment.branches) for segment in pack.laid]
        found.append((pack, held, numbers))
    return found


def _part(piece: _Piece, branches: Sequence[int]) -> _Piece:
    tree, numbers = piece
    return Tree(tree.stem, tuple(tree.branches[b] for b in branches)), tuple(numbers[b] for b in branches)
