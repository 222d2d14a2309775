"""Engines: what answers questions with a group of adapters over one base. Knows the interface, not who is behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from nonet.ballot import Ballot
from nonet.prompt import Answer


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
    """What is wanted of every prompt: its `answer` form and, for text, at most so many tokens."""

    answer: Answer
    max_tokens: int


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
        self, adapters: Sequence[Adapter], asks: Sequence[Ask], reply: Reply, answered: Callable[[int], None]
    ) -> Iterator[Cast]:
        """Yield each adapter's cast as soon as it is complete; `answered` hears how many prompts came to an end.

        Raises EngineError. `answered` may raise to end the work early.
        """
        ...

    def close(self) -> None:
        """Give back the memory."""
        ...
