"""Free texts in the engine `transformers`: several replies at once, token by token over one cache of keys and values.

Knows left padding, caches and drawing tokens. Knows nothing of adapters: the model that it is given wears one, or none.
The prompts of a batch are read once, whatever the number of samples; a reply that has ended leaves the batch, so that
nothing is computed for it any more.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from nonet.adapters.training import decoder_of, vocabulary_logits
from nonet.engines import Answered, Ask, Reply
from nonet.engines.texts import Written, reply_seed, text_ballots, within_budget
from nonet.voting.ballot import Ballot

TOKENS = 16384
"""Tokens of all prompts and replies of a batch together. Their keys and values take 4 GiB of a base of 32 billion
parameters (64 layers of 8 heads, 128 wide, in 16 bits), and little of smaller ones."""


class TextSampling:
    """The asks of one order; answered by one adapter after another."""

    def __init__(self, asks: Sequence[Ask], reply: Reply, tokenizer: Any, device: str) -> None:
        self._asks = asks
        self._reply = reply
        self._tokenizer = tokenizer
        self._device = device

    def ballots(self, model: Any, adapter: str, answered: Answered) -> tuple[Ballot, ...]:
        """The ballots of `adapter`, which `model` wears, in the order of the asks; `answered` hears at each token how
        many prompts are done and how many tokens are written, and may raise.
        """
        import torch

        written: list[Written] = []
        tokens = 0
        for start, stop in self._batches():
            done, before = start, tokens

            def stepped(more: int, done: int = done, before: int = before) -> None:
                answered(done, before + more)

            with torch.inference_mode():
                replies = self._written(model, adapter, self._asks[start:stop], tokens, stepped)
            written += [self._read(ids, ended=ended) for ids, ended in replies]
            tokens += sum(len(ids) for ids, _ in replies)
            if within_budget([one.tokens for one in written], self._reply, len(self._asks)) < len(written):
                break
            answered(stop, tokens)
        answered(len(self._asks), tokens)
        return text_ballots(self._asks, written, self._reply)

    def _batches(self) -> Iterator[tuple[int, int]]:
        """First and last (exclusive) ask of each batch: as many as TOKENS hold, one at least."""
        start = 0
        for stop in range(1, len(self._asks) + 1):
            longest = max(len(ask.ids) for ask in self._asks[start : stop + 1])
            rows = (stop + 1 - start) * self._reply.samples
            if stop == len(self._asks) or rows * (longest + self._reply.max_tokens) > TOKENS:
                yield start, stop
                start = stop

    def _written(
        self, model: Any, adapter: str, asks: Sequence[Ask], spent: int, stepped: Any
    ) -> list[tuple[list[int], bool]]:
        """The token ids of each reply, without the end token, and whether it came to it; sample by sample."""
        import torch

        samples, end = self._reply.samples, self._tokenizer.eos_token_id
        draws = [random.Random(reply_seed(adapter, ask.question_id, at)) for ask in asks for at in range(samples)]
        replies: list[list[int]] = [[] for _ in draws]
        ended = [False] * len(draws)
        alive = list(range(len(draws)))
        logits, cache, mask = self._read_prompts(model, asks)
        for step in range(self._most(spent)):
            chosen = self._chosen(logits, [draws[row] for row in alive])
            kept = [at for at, token in enumerate(chosen) if token != end]
            for at, token in enumerate(chosen):
                ended[alive[at]] = token == end
                replies[alive[at]] += [token] if token != end else []
            stepped(sum(map(len, replies)))
            if not kept or step + 1 == self._most(spent):
                break
            if len(kept) < len(alive):
                index = torch.tensor(kept, device=self._device)
                cache.batch_select_indices(index)
                mask, alive = mask[index], [alive[at] for at in kept]
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
            ids = torch.tensor([[chosen[at]] for at in kept], device=self._device)
            hidden = _forward(model, ids, mask, mask.sum(1, keepdim=True) - 1, cache)
            logits = vocabulary_logits(model, hidden)
        return list(zip(replies, ended, strict=True))

    def _most(self, spent: int) -> int:
        """Tokens of a reply at most: one that is longer than what is left of the budget would not count."""
        if self._reply.budget is None:
            return self._reply.max_tokens
        return min(self._reply.max_tokens, max(0, self._reply.budget * len(self._asks) - spent) + 1)

    def _read_prompts(self, model: Any, asks: Sequence[Ask]) -> tuple[Any, Any, Any]:
        """Logits [replies, vocabulary] after the prompts, the cache, and the mask of what is no padding."""
        import torch
        from transformers import DynamicCache

        width = max(len(ask.ids) for ask in asks)
        ids = torch.tensor([[0] * (width - len(ask.ids)) + list(ask.ids) for ask in asks], device=self._device)
        mask = torch.tensor([[0] * (width - len(ask.ids)) + [1] * len(ask.ids) for ask in asks], device=self._device)
        cache = DynamicCache()
        hidden = _forward(model, ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache)
        logits, samples = vocabulary_logits(model, hidden), self._reply.samples
        if samples > 1:
            cache.batch_repeat_interleave(samples)
        return logits.repeat_interleave(samples, 0), cache, mask.repeat_interleave(samples, 0)

    def _chosen(self, logits: Any, draws: Sequence[random.Random]) -> list[int]:
        """The next token of each row: the likeliest, or one drawn by the row's own numbers."""
        import torch

        if self._reply.temperature == 0:
            likeliest: list[int] = logits.argmax(-1).tolist()
            return likeliest
        shares = (logits.double() / self._reply.temperature).softmax(-1).cumsum(-1)
        points = torch.tensor([[draw.random()] for draw in draws], dtype=shares.dtype, device=shares.device)
        drawn: list[int] = torch.searchsorted(shares, points * shares[:, -1:], right=True)[:, 0].tolist()
        return [min(token, shares.shape[-1] - 1) for token in drawn]

    def _read(self, ids: Sequence[int], *, ended: bool) -> Written:
        return Written(self._tokenizer.decode(ids, skip_special_tokens=True), ended, len(ids))


def _forward(model: Any, ids: Any, mask: Any, positions: Any, cache: Any) -> Any:
    """Hidden states [rows, width] of the last token; keys and values are added to `cache`."""
    out = decoder_of(model)(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    )
    return out[0][:, -1]
