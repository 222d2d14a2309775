"""Who did what when: attempts as spans on the lanes of workers. Knows attempts; draws nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from nonet.runs.attempt import Attempt, Outcome


class Work(StrEnum):
    """What an attempt was at."""

    TRAIN = "train"
    INFER = "infer"
    VOTE = "vote"


@dataclass(frozen=True, slots=True)
class Unit:
    """Something that attempts are made at: its key, the name that people know it by, and the kind of work."""

    key: str
    name: str
    work: Work


@dataclass(frozen=True, slots=True)
class Span:
    """An attempt as seen on a timeline: seconds since 1970 on its host's clock; `stop` is None while it is open.

    Attempts of one message begin together and are worked on one after another: each starts where the one before ended.
    """

    unit: Unit
    attempt: Attempt
    start: float
    stop: float | None

    @property
    def committed(self) -> bool:
        return self.attempt.outcome is Outcome.COMMITTED

    @property
    def bad(self) -> bool:
        """Whether it ended without a result, other than by being asked to stop."""
        return self.attempt.outcome in (Outcome.FAILED, Outcome.LOST)

    @property
    def seconds(self) -> float:
        return 0.0 if self.stop is None else max(0.0, self.stop - self.start)


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker did in a run: results by kind of work, attempts without a result, seconds of work."""

    worker: str
    done: dict[Work, int]
    bad: int
    seconds: float


def spans_of(attempts: Iterable[tuple[Unit, Attempt]], run: str) -> tuple[Span, ...]:
    """The attempts that were made for `run`, as spans in the order of their start."""
    messages: dict[tuple[str, str], list[tuple[Unit, Attempt]]] = defaultdict(list)
    for unit, attempt in attempts:
        if attempt.run == run:
            messages[attempt.worker, attempt.log].append((unit, attempt))
    spans = [span for message in messages.values() for span in _one_by_one(message)]
    return tuple(sorted(spans, key=lambda span: (span.start, span.unit.name)))


def _one_by_one(message: Sequence[tuple[Unit, Attempt]]) -> Iterator[Span]:
    last = 0.0
    for unit, attempt in sorted(message, key=lambda pair: pair[1].ended or float("inf")):
        start = max(attempt.started, last if attempt.ended is None or last <= attempt.ended else attempt.started)
        yield Span(unit, attempt, start, attempt.ended)
        last = attempt.ended or last


def shares_of(spans: Iterable[Span]) -> tuple[Share, ...]:
    """What each worker did, by its name."""
    by_worker: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        by_worker[span.attempt.worker].append(span)
    return tuple(
        Share(
            worker=worker,
            done=dict(Counter(span.unit.work for span in found if span.committed)),
            bad=sum(span.bad for span in found),
            seconds=sum(span.seconds for span in found),
        )
        for worker, found in sorted(by_worker.items())
    )
