"""Ballots on questions whose gold is known: what members are measured, chosen, weighed and calibrated on.

Knows accuracies and how such a set is divided by stem. Reads no file, counts no votes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from nonet.questions.problem import Problem
from nonet.questions.split import normal_stem
from nonet.voting.ballot import Ballot, Ballots
from nonet.voting.score import Score


@dataclass(frozen=True)
class Labelled:
    """`letters`, `gold` and the normal `stems` by question id, in the questions' order, and the `ballots` on them."""

    letters: Mapping[str, str]
    gold: Mapping[str, str]
    stems: Mapping[str, str]
    ballots: Ballots

    @property
    def questions(self) -> tuple[tuple[str, str], ...]:
        """(question id, its letters) of each question."""
        return tuple(self.letters.items())

    @cached_property
    def chance(self) -> float:
        """Expected accuracy of picking at random; 0 where there is no question."""
        return sum(1 / len(letters) for letters in self.letters.values()) / max(1, len(self.letters))

    def cast(self, name: str) -> Mapping[str, Ballot]:
        """The ballots of `name` on these questions, by question id."""
        own = self.ballots.get(name, {})
        return {question: own[question] for question in self.gold if question in own}

    def letters_of(self, name: str) -> dict[str, str | None]:
        """The letters that `name` gives, by question id; None for an abstention."""
        return {question: ballot.letter for question, ballot in self.cast(name).items()}

    def complete(self, names: Iterable[str]) -> bool:
        """Whether there are questions, and each of `names` has a ballot on every one and was asked it."""
        return bool(self.gold) and all(
            len(self.cast(name)) == len(self.gold) and not self.stopped(name) for name in names
        )

    def stopped(self, name: str) -> bool:
        """Whether `name` was not asked some of the questions, since they were decided without it."""
        return not all(ballot.asked for ballot in self.cast(name).values())

    def accuracy(self, name: str) -> float | None:
        """Part of the questions that `name` answers rightly, 0..1; None unless it has a ballot on each of them."""
        return self.score(self.letters_of(name)).accuracy if self.complete([name]) else None

    def score(self, answers: Mapping[str, str | None]) -> Score:
        """The score of letters by question id."""
        correct = sum(answers.get(question) == letter for question, letter in self.gold.items())
        missing = sum(answers.get(question) is None for question in self.gold)
        return Score(correct, len(self.gold), missing)

    def part(self, ids: Collection[str]) -> Labelled:
        """Those questions only; the ballots are shared."""
        return replace(
            self,
            letters={q: value for q, value in self.letters.items() if q in ids},
            gold={q: value for q, value in self.gold.items() if q in ids},
            stems={q: value for q, value in self.stems.items() if q in ids},
        )

    def folds(self, count: int) -> tuple[tuple[Labelled, Labelled], ...]:
        """(the rest, the fold) for each of up to `count` folds; a stem is in one fold. () with fewer than two stems.

        Stems are dealt out one by one in the order of their digests, so the folds depend on the stems alone.
        """
        ranked = sorted(set(self.stems.values()), key=lambda stem: hashlib.sha256(stem.encode()).digest())
        dealt = {stem: at % min(count, len(ranked)) for at, stem in enumerate(ranked)}
        if len(ranked) < 2:
            return ()
        parts = [{q for q, stem in self.stems.items() if dealt[stem] == at} for at in range(max(dealt.values()) + 1)]
        return tuple((self.part(self.gold.keys() - held), self.part(held)) for held in parts)


def labelled(problems: Iterable[Problem], ballots: Ballots) -> Labelled:
    """The questions of `problems` that have gold, with `ballots`."""
    known = [(p, q) for p in problems for q in p.questions if q.gold is not None]
    return Labelled(
        letters={q.id: q.letters for _, q in known},
        gold={q.id: q.gold for _, q in known if q.gold is not None},
        stems={q.id: normal_stem(p.stem) for p, q in known},
        ballots=ballots,
    )
