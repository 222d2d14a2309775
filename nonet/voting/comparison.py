"""Comparison: every way of voting side by side, from ballots alone. Prints nothing.

Each way is fitted on the validation ballots, measured there naively and cross-fitted, and applied to a labelled test
where there is one. The best single member is one of the ways: one voter, selected by validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from nonet.voting.crossfit import Estimate, answers_of, cross_fitted
from nonet.voting.labelled import Labelled
from nonet.voting.pairs import compared
from nonet.voting.score import Score
from nonet.voting.statistics import PairedTest
from nonet.voting.vote import METHODS, SOFT, Member, VoteSpec
from nonet.voting.voters import choose_voters, is_fitted, measured

BEST_SINGLE = VoteSpec(members=1, select="validation")
SEATS = 0.75
"""Part of the members that is selected where nothing else is asked for: 9 of 12."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of voting: its voters, what they come to on validation and on the test (None: not known), and McNemar's
    test of it against the best single member there; on validation both are cross-fitted.
    """

    spec: VoteSpec
    voters: tuple[Member, ...]
    estimate: Estimate
    against_best: PairedTest | None
    test: Score | None
    test_against_best: PairedTest | None

    @property
    def select(self) -> str:
        """`select` in words, with its number."""
        return f"{self.spec.select} {self.spec.members}" if self.spec.members else str(self.spec.select)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`best` single member and all other ways; the members' mean accuracies on validation and on the test."""

    best: Way
    ways: tuple[Way, ...]
    mean_validation: float
    mean_test: float | None


def specs(members: int, seats: int, *, soft: bool) -> Iterator[VoteSpec]:
    """Every method with every selection of up to `seats` of so many members; without `soft` no soft method."""
    for method in METHODS:
        if soft or method not in SOFT:
            yield VoteSpec(method)
            if seats < members:
                yield VoteSpec(method, seats, "validation")
            yield VoteSpec(method, seats, "greedy")


def compare(names: Sequence[str], known: Labelled, test: Labelled | None, seats: int | None = None) -> Comparison:
    """Compare on the validation ballots `known` and, where its gold is given, on the `test`.

    `seats` is how many of the members are selected, three quarters where it is None. Raises ValueError where there is
    no validation, a member lacks a ballot on it or on the test, or there are fewer members than seats.
    """
    for where, asked in (("validation", known), ("the test", test)):
        if asked is not None and not asked.complete(names):
            lacking = [name for name in names if not asked.complete([name])]
            what = f"{', '.join(lacking)} lack ballots on it" if asked.gold else "it has no question with gold"
            raise ValueError(f"cannot compare on {where}: {what}")
    seats = ceil(len(names) * SEATS) if seats is None else seats
    soft = all(ballot.logprobs for name in names for ballot in known.cast(name).values() if ballot.letter is not None)
    best, best_validation, best_test = _tried(BEST_SINGLE, names, known, test, {}, {})
    ways = (_tried(s, names, known, test, best_validation, best_test)[0] for s in specs(len(names), seats, soft=soft))
    return Comparison(best, tuple(ways), _mean(names, known), None if test is None else _mean(names, test))


Answers = Mapping[str, str | None]


def _tried(
    spec: VoteSpec,
    names: Sequence[str],
    known: Labelled,
    test: Labelled | None,
    best_validation: Answers,
    best_test: Answers,
) -> tuple[Way, Answers, Answers]:
    voters = choose_voters(spec, measured(names, known), known)
    naive = answers_of(spec, voters, known)
    fair = cross_fitted(spec, names, known) if is_fitted(spec, len(names)) else naive
    estimate = Estimate(known.score(naive), None if fair is None else known.score(fair))
    against = compared(fair, best_validation, known.gold) if fair and best_validation else None
    answers = {} if test is None else answers_of(spec, voters, test)
    score = None if test is None else test.score(answers)
    test_against = compared(answers, best_test, test.gold) if test is not None and best_test else None
    return Way(spec, voters, estimate, against, score, test_against), fair or {}, answers


def _mean(names: Sequence[str], asked: Labelled) -> float:
    return sum(asked.accuracy(name) or 0.0 for name in names) / len(names)
