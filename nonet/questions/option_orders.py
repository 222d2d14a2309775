"""Option orders: a question shown with its options turned, and its ballots averaged, so that no letter is favoured.

Knows positions and log-probabilities; texts may be the same, so nothing is found by text. Averaging over option orders
is the remedy of P. Pezeshkpour and E. Hruschka, "Large language models sensitivity to the order of options in
multiple-choice questions" (NAACL Findings 2024), and, with cyclic orders only, of C. Zheng et al., "Large language
models are not robust multiple choice selectors" (ICLR 2024). With as many orders as options every option stands once
under every letter, and what a letter adds to its log-probability cancels.
"""

from __future__ import annotations

from collections.abc import Sequence

from nonet.engines import Ask
from nonet.engines.ballots import letter_ballot
from nonet.voting.ballot import Ballot


def turned(options: Sequence[str], permutations: int) -> tuple[tuple[str, ...], ...]:
    """The first so many cyclic orders of `options`, at most as many as there are; the given order first."""
    return tuple((*options[turn:], *options[:turn]) for turn in range(min(permutations, len(options))))


def averaged(ask: Ask, ballots: Sequence[Ballot]) -> Ballot:
    """One ballot from those on the orders of `turned`, one each: the mean log-probability by option."""
    if len(ballots) == 1:
        return ballots[0]
    count = len(ask.letters)
    means = [
        sum(ballot.logprobs[(option - turn) % count] for turn, ballot in enumerate(ballots)) / len(ballots)
        for option in range(count)
    ]
    return letter_ballot(ask, means)
