"""Stop when decided: a question is closed once no ballot that is still to come can change its verdict.

Knows letters and weights, no engine and no file. Only votes by letter can be closed: a ballot adds its weight to one
letter and nothing else, so a letter that is ahead by more than all that is to come stays ahead, and no tie is left to
break. Where the lead is as large as what is to come the verdict may become a tie, so the question stays open. A sum of
log-probabilities has no bound: one ballot may still turn a soft vote.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

CLOSING = ("majority", "weighted")
"""Methods whose verdicts can be settled before all ballots are cast."""

Voices = Sequence[tuple[str | None, float]]
"""Ballots on one question: letter (None: an abstention) and weight. A member with several samples has several."""


def winner(letters: str, cast: Voices, coming: Sequence[float]) -> str | None:
    """The letter that wins whatever ballots of the weights `coming` say; None while that is open.

    Sums are `math.fsum`'s, as those of `nonet.voting.vote`: it rounds once and keeps the order of exact sums, so what
    is ahead here is ahead there.
    """
    sums = {a: math.fsum(weight for letter, weight in cast if letter == a) for a in letters}
    ahead = max(letters, key=lambda letter: sums[letter])
    for other in letters:
        weights = [weight for letter, weight in cast if letter == other]
        if other != ahead and not sums[ahead] > math.fsum([*weights, *coming]):
            return None
    return ahead


def lead(letters: str, cast: Voices, coming: Sequence[float], ahead: str) -> float:
    """The least by which `ahead` can be ahead of the next letter in the end."""
    sums = [math.fsum([*coming, *(w for a, w in cast if a == other)]) for other in letters if other != ahead]
    return math.fsum(weight for letter, weight in cast if letter == ahead) - max(sums)


@dataclass
class Polls:
    """The questions of a shard while its members answer one after another. Mutable: `take` adds ballots.

    `letters` by question id; `voters` are (name, weight) by merit; each casts `samples` ballots a question. `cast`
    holds the letters that are known, by member and question.
    """

    letters: Mapping[str, str]
    voters: Sequence[tuple[str, float]]
    samples: int = 1
    cast: dict[str, dict[str, tuple[str | None, ...]]] = field(default_factory=dict)

    def take(self, name: str, answers: Mapping[str, tuple[str | None, ...]]) -> None:
        """Count the letters of `name` by question."""
        self.cast.setdefault(name, {}).update(answers)

    def open(self) -> tuple[str, ...]:
        """Questions that a voter could still turn, in order."""
        return tuple(question for question in self.letters if self._decides(question, 0) is None)

    def wave(self, names: Collection[str]) -> tuple[str, ...]:
        """Of `names` those to be asked next, by merit: as few as could decide an open question. () where none is open;
        those that do not vote are never asked.
        """
        waiting = tuple(name for name, _ in self.voters if name in names)
        open_ = self.open() if waiting else ()
        for count in range(1, len(waiting)):
            if any(self._decides(question, count) for question in open_):
                return waiting[:count]
        return waiting if open_ else ()

    def _decides(self, question: str, count: int) -> str | None:
        """The letter that wins if the next `count` voters agree on it; "" where nobody is to come, None for none."""
        coming = [weight for name, weight in self.voters if question not in self.cast.get(name, {})]
        if not coming:
            return ""
        letters, cast = self.letters[question], tuple(self._voices(question))
        said, rest = self._weights(coming[:count]), self._weights(coming[count:])
        for letter in letters if said else letters[:1]:
            found = winner(letters, (*cast, *((letter, weight) for weight in said)), rest)
            if found is not None:
                return found
        return None

    def _weights(self, members: Iterable[float]) -> list[float]:
        return [weight for weight in members for _ in range(self.samples)]

    def _voices(self, question: str) -> Iterable[tuple[str | None, float]]:
        for name, weight in self.voters:
            yield from ((letter, weight) for letter in self.cast.get(name, {}).get(question, ()))
