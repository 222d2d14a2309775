"""Greedy selection: members join an ensemble one by one, each the one that helps the vote most on validation.

R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes, "Ensemble selection from libraries of models", ICML 2004: forward
selection with replacement, and bagged, the paper's guard against fitting the set that is selected on. Knows ballots as
arrays; whose seats they are and what comes of them is in `nonet.voting.voters`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nonet.voting.labelled import Labelled
from nonet.voting.vote import tempered

Array = NDArray[np.float64]


def seats(
    names: Sequence[str],
    known: Labelled,
    count: int,
    *,
    soft: bool,
    temperatures: Mapping[str, float],
    bags: int,
    seed: int,
) -> dict[str, int]:
    """How many seats each member wins: in each of the `bags`, which hold half of the members (the paper's p = 0.5)
    drawn with `seed`, `count` seats are filled one after the other.

    `names` are in order of merit. Of candidates that help equally the one with the fewest seats so far is taken, then
    the better one: the set is small, so equals are common, and spreading them is nearer to a vote of all. Members
    without a seat are left out.
    """
    votes, logprobs, right = _arrays(names, known, temperatures)
    draw = random.Random(seed)
    won: Counter[str] = Counter()
    for _ in range(bags):
        bag = sorted(draw.sample(range(len(names)), (len(names) + 1) // 2))
        won.update(names[member] for member in _fill(bag, count, None if soft else votes, logprobs, right))
    return {name: won[name] for name in names if won[name]}


def _fill(bag: Sequence[int], count: int, votes: Array | None, logprobs: Array, right: NDArray[np.intp]) -> list[int]:
    """The members of `bag` that take the `count` seats, one entry a seat."""
    taken: Counter[int] = Counter()
    voted, summed = np.zeros(logprobs.shape[1:]), np.zeros(logprobs.shape[1:])
    for _ in range(count):
        after = summed + logprobs[bag]
        scores = after
        if votes is not None:
            counts = voted + votes[bag]
            scores = np.where(counts == counts.max(axis=-1, keepdims=True), after, -np.inf)
        correct = (scores.argmax(axis=-1) == right).sum(axis=-1)
        best = min(range(len(bag)), key=lambda at: (-correct[at], taken[bag[at]], at))
        taken[bag[best]] += 1
        summed = after[best]
        if votes is not None:
            voted = counts[best]
    return list(taken.elements())


def _arrays(
    names: Sequence[str], known: Labelled, temperatures: Mapping[str, float]
) -> tuple[Array, Array, NDArray[np.intp]]:
    """Votes and log-probabilities (member, question, letter) and the right letter's place by question.

    Letters that a question does not have can never win; ballots without log-probabilities add 0 to all.
    """
    width = max(len(letters) for letters in known.letters.values())
    shape = (len(names), len(known.gold), width)
    votes, logprobs = np.zeros(shape), np.zeros(shape)
    for at, (question, letters) in enumerate(known.letters.items()):
        votes[:, at, len(letters) :] = -np.inf
        logprobs[:, at, len(letters) :] = -np.inf
        for member, name in enumerate(names):
            ballot = known.ballots[name][question]
            if ballot.letter is not None:
                votes[member, at, letters.index(ballot.letter)] = 1.0
            if ballot.logprobs:
                logprobs[member, at, : len(letters)] = tempered(ballot.logprobs, temperatures.get(name, 1.0))
    right = np.array([letters.index(known.gold[question]) for question, letters in known.letters.items()])
    return votes, logprobs, right
