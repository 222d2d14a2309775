"""One adapter's replies in a vLLM engine: what is asked for each, and what came of them. Runs no engine.

Replies are numbered in the order of the questions, the samples of one question after one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nonet.engines import Ask, Cast, EngineError, Reply
from nonet.engines.ballots import letter_ballot
from nonet.engines.texts import Written, reply_seed, text_ballots, within_budget
from nonet.voting.ballot import Ballot


class Replies:
    """The replies of the adapter called `name` to `asks`, as they come in."""

    def __init__(self, name: str, asks: Sequence[Ask], reply: Reply) -> None:
        self.name = name
        self.asks = asks
        self.reply = reply
        self._outputs: dict[int, Any] = {}
        self._prefix: list[int] = []
        self._cached = 0

    def ask(self, number: int) -> Ask:
        return self.asks[number // self.reply.samples]

    def wanted(self, number: int) -> Any:
        """vLLM's parameters for a reply: one of the letters with its log-probabilities, or a text by its own seed."""
        from vllm import SamplingParams

        ask, reply = self.ask(number), self.reply
        if reply.answer == "letter":
            return SamplingParams(
                temperature=0.0,
                max_tokens=1,
                allowed_token_ids=list(ask.letter_ids),
                logprobs=len(ask.letter_ids),
                detokenize=False,
            )
        seed = reply_seed(self.name, ask.question_id, number % reply.samples) if reply.temperature else None
        return SamplingParams(temperature=reply.temperature, max_tokens=reply.max_tokens, seed=seed)

    def take(self, number: int, output: Any) -> None:
        """Count a finished request's output."""
        self._outputs[number] = output.outputs[0]
        self._cached += output.num_cached_tokens or 0
        while len(self._prefix) in self._outputs:
            self._prefix.append(_written(self._outputs[len(self._prefix)]).tokens)

    @property
    def beyond(self) -> int | None:
        """The first reply that is known to be beyond the budget."""
        count = within_budget(self._prefix, self.reply, len(self.asks))
        return None if count == len(self._prefix) else count

    @property
    def complete(self) -> bool:
        """Whether all replies that count have come."""
        return self.beyond is not None or len(self._outputs) == len(self.asks) * self.reply.samples

    @property
    def prompts(self) -> int:
        """How many questions' worth of replies have come."""
        return len(self._outputs) // self.reply.samples

    def cast(self) -> Cast:
        """What came of them; raises EngineError."""
        return Cast(self.name, self._ballots(), cached=self._cached)

    def _ballots(self) -> tuple[Ballot, ...]:
        if self.reply.answer == "letter":
            return tuple(_letter(ask, self._outputs[at]) for at, ask in enumerate(self.asks))
        came = range(len(self._prefix))
        return text_ballots(self.asks, [_written(self._outputs[number]) for number in came], self.reply)


def _written(output: Any) -> Written:
    ended = output.finish_reason == "stop"
    return Written(output.text, ended, len(output.token_ids) - ended)  # the last is the end token then


def _letter(ask: Ask, output: Any) -> Ballot:
    given: Mapping[int, Any] = output.logprobs[0] if output.logprobs else {}
    lacking = [letter for letter, token in zip(ask.letters, ask.letter_ids, strict=True) if token not in given]
    if lacking:
        raise EngineError(f"{ask.question_id}: vLLM gave no log-probability for {lacking}")
    return letter_ballot(ask, [given[token].logprob for token in ask.letter_ids])
