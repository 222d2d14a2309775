"""Engines: what answers questions with a group of adapters over one base. Knows the interface, not who is behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from nonet.questions.prompt import Answer
from nonet.voting.ballot import Ballot


class EngineError(Exception):
    """An engine gave what cannot be: numbers that are not finite, no reply at all."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on disk: the `name` that its ballots go by, and its folder."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A question as an engine reads it: prompt `ids`, and its `letters` with the token of each.

    A question that is shown in several option orders is asked several times under one id.
    """

    question_id: str
    ids: tuple[int, ...]
    letters: str
    letter_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What is wanted of every prompt: its `answer` form and, for text, so many `samples` of at most `max_tokens`, drawn
    at `temperature` (0: always the likeliest token). `budget` is how many tokens a member may write for a question with
    all its samples, in the mean of the questions that are asked together; None: any number.
    """

    answer: Answer
    max_tokens: int
    samples: int = 1
    temperature: float = 0.0
    budget: int | None = None


class Answered(Protocol):
    """Hears how many prompts have come to an end, and how many tokens of texts are written; may raise."""

    def __call__(self, done: int, written: int = 0, /) -> None:
        """Of one call of `Engine.answer`, all adapters together."""
        ...


@dataclass(frozen=True, slots=True)
class Cast:
    """One adapter's ballots, in the order of the asks; or none, and why its adapter could not be loaded. `cached`
    counts the tokens of its prompts that the engine did not compute, since another prompt begins with them.
    """

    adapter: str
    ballots: tuple[Ballot, ...]
    failure: str | None = None
    cached: int = 0


class Engine(Protocol):
    """Answers with a group of adapters. An adapter that cannot be loaded fails alone; the others go on."""

    def answer(
        self, adapters: Sequence[Adapter], asks: Sequence[Ask], reply: Reply, answered: Answered
    ) -> Iterator[Cast]:
        """Yield each adapter's cast as soon as it is complete; `answered` hears how far it is, and may raise to end the
        work early. Raises EngineError.
        """
        ...

    def bare(self, asks: Sequence[Ask]) -> tuple[Ballot, ...]:
        """The letters of the base without any adapter. Raises EngineError."""
        ...

    def close(self) -> None:
        """Give back the memory."""
        ...
