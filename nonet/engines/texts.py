"""Free texts on their way to ballots: seeds, what was written, the budget. The same for every engine; knows no model.

A question of a member has one reply or several samples. Each is drawn with a seed of its own, made from adapter,
question and sample: what is asked beside it, and on which machine, changes nothing but rounding.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from nonet.engines import Ask, Reply
from nonet.questions.completion import parse_completion
from nonet.voting.ballot import AbstentionReason, Ballot, Sample, sampled


@dataclass(frozen=True, slots=True)
class Written:
    """One reply: its `text`, whether it `ended` by itself (not for want of tokens), and its length in `tokens`."""

    text: str
    ended: bool
    tokens: int


def reply_seed(adapter: str, question_id: str, sample: int) -> int:
    """The seed of one reply, 63 bits; the same on every machine."""
    return random.Random(f"nonet reply {adapter} {question_id} {sample}").getrandbits(63)


def within_budget(lengths: Sequence[int], reply: Reply, questions: int) -> int:
    """How many of the replies count whose `lengths` in tokens are given: the first ones that fit the budget of so many
    questions together. The replies are in the order of the questions, so that the same ones count every time.
    """
    if reply.budget is None:
        return len(lengths)
    return sum(total <= reply.budget * questions for total in accumulate(lengths))


def text_ballots(asks: Sequence[Ask], written: Sequence[Written], reply: Reply) -> tuple[Ballot, ...]:
    """A ballot for each of `asks` from its `reply.samples` replies; `written` has those of the first ask first. Replies
    that are beyond the budget, or are not there because of it, abstain.
    """
    count = within_budget([one.tokens for one in written], reply, len(asks))
    found = []
    for at, ask in enumerate(asks):
        numbers = range(at * reply.samples, (at + 1) * reply.samples)
        samples = [_sample(ask, written[number]) if number < count else _SPENT for number in numbers]
        single = Ballot(ask.question_id, samples[0].letter, (), samples[0].reason)
        found.append(single if reply.samples == 1 else sampled(ask.question_id, samples))
    return tuple(found)


_SPENT = Sample(None, AbstentionReason.BUDGET_SPENT)


def _sample(ask: Ask, written: Written) -> Sample:
    parsed = parse_completion(written.text, ask.letters, cut_off=not written.ended)
    return Sample(parsed.letter, parsed.reason)
