"""Letter-prior debiasing: what a letter adds to its log-probability whatever the option, estimated and taken away.

An experiment of `bench.ensemble`, no setting of Nonet: it assumes that every letter is right equally often.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from nonet.voting.ballot import Ballot, Ballots
from nonet.voting.labelled import Labelled

Prior = Mapping[int, tuple[float, ...]]
"""Number of options → mean log-probability by letter."""


def letter_prior(cast: Mapping[str, Ballot]) -> Prior:
    """The mean log-probability by letter over the questions with as many options; labels are not needed."""
    groups: dict[int, list[tuple[float, ...]]] = {}
    for ballot in cast.values():
        if ballot.logprobs:
            groups.setdefault(len(ballot.logprobs), []).append(ballot.logprobs)
    return {
        options: tuple(math.fsum(column) / len(group) for column in zip(*group, strict=True))
        for options, group in groups.items()
    }


def debiased(ballot: Ballot, prior: Prior) -> Ballot:
    """`ballot` less the prior, normalised again; as it is where the prior knows no such question."""
    own = prior.get(len(ballot.logprobs))
    if not ballot.logprobs or own is None:
        return ballot
    raw = [value - mean for value, mean in zip(ballot.logprobs, own, strict=True)]
    top = max(raw)
    total = top + math.log(math.fsum(math.exp(value - top) for value in raw))
    return replace(ballot, letter="ABCDEFGHIJ"[raw.index(top)], logprobs=tuple(min(0.0, v - total) for v in raw))


def all_debiased(asked: Labelled, estimated_on: Ballots) -> Labelled:
    """`asked` with every member's ballots less the prior of its ballots in `estimated_on`."""
    priors = {name: letter_prior(cast) for name, cast in estimated_on.items()}
    ballots = {
        name: {q: debiased(ballot, priors[name]) for q, ballot in cast.items()} for name, cast in asked.ballots.items()
    }
    return replace(asked, ballots=ballots)
