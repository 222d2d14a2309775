"""Waves: the members of a shard answer one after another, and nobody is asked what is decided. Knows asks and casts;
when a question is decided is said by `nonet.voting.decided`, who votes by the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from nonet.engines import Adapter, Ask, Cast
from nonet.questions.option_orders import averaged
from nonet.voting.ballot import AbstentionReason, Ballot
from nonet.voting.decided import Polls

Pass = Callable[[Sequence[Adapter], Sequence[Ask]], Iterator[Cast]]
"""One pass of an engine: a cast for each adapter, with a ballot for each ask."""


def by_question(asks: Sequence[Ask], cast: Cast) -> Cast:
    """`cast` with one ballot a question, those on its option orders averaged."""
    pairs = zip(asks, cast.ballots, strict=True)
    turns = [list(group) for _, group in groupby(pairs, key=lambda pair: pair[0].question_id)]
    return replace(cast, ballots=tuple(averaged(turn[0][0], [ballot for _, ballot in turn]) for turn in turns))


def until_decided(
    one_pass: Pass, adapters: Sequence[Adapter], asks: Sequence[Ask], polls: Polls, spared: Callable[[int], None]
) -> Iterator[Cast]:
    """The casts of `adapters` by question, wave by wave; `spared` hears how many prompts were not needed.

    Whose adapter fails is not counted: it may be tried again, and its ballot may still come.
    """
    waiting = {adapter.name: adapter for adapter in adapters}
    while waiting:
        wave = polls.wave(waiting)
        open_ = frozenset(polls.open() if wave else ())
        asked = [ask for ask in asks if ask.question_id in open_]
        chosen = [waiting.pop(name) for name in wave or tuple(waiting)]
        spared(len(chosen) * (len(asks) - len(asked)))
        for cast in one_pass(chosen, asked) if asked else (Cast(adapter.name, ()) for adapter in chosen):
            yield cast if cast.failure is not None else _whole(by_question(asked, cast), polls)


def _whole(cast: Cast, polls: Polls) -> Cast:
    """`cast`, counted, with a ballot on every question: a question that was not asked has one that says so."""
    given = {ballot.question_id: ballot for ballot in cast.ballots}
    polls.take(cast.adapter, {question: ballot.letters for question, ballot in given.items()})
    unasked = (Ballot(q, None, (), AbstentionReason.DECIDED) for q in polls.letters if q not in given)
    every = given | {ballot.question_id: ballot for ballot in unasked}
    return replace(cast, ballots=tuple(every[question] for question in polls.letters))
