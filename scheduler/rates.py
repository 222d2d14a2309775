"""Rates: what steps and answers have cost so far, from the attempts and commits of a run, else of earlier runs.

Reads storage, a sample of it; decides nothing. What is measured is a message: all that one worker did in one go.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from typing import Any

from nonet.runs.attempt import Attempt, Attempts, Outcome
from nonet.runs.plan import ADAPTERS, Plan, PlannedAdapter, PlannedBase, Shard, ballots_scope, plan_from_json
from nonet.stores.storage import Commit, Storage
from scheduler.forecast import Rate, Rates

TRAININGS = 40
"""Most trainings of one base that are looked at: the last ones of the plan that are committed."""
SHARDS, MEMBERS = 6, 30
"""Most shards of one base whose cells are looked at, and adapters in each."""
EARLIER = 5
"""Most earlier runs that are looked at, the latest first, where a run has nothing to show itself."""
FRESH_SECONDS = 5.0
"""For how long rates are told again without a look."""
RANGED = 4
"""Fewest measurements that make a range."""


@dataclass(frozen=True, slots=True)
class Part:
    """One artifact that was made: so many `units` in `seconds` of pure work (None: not recorded), by an attempt."""

    attempt: Attempt
    units: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Measure:
    """One message: seconds a unit, and seconds that it cost besides."""

    worker: str
    run: str
    ended: float
    units: float
    seconds: float
    overhead: float


def measures_of(parts: Iterable[Part]) -> tuple[Measure, ...]:
    """What the messages that `parts` were made in cost, in the order of their end."""
    messages: dict[tuple[str, str], list[Part]] = defaultdict(list)
    for part in parts:
        if part.attempt.ended is not None and part.units > 0:
            messages[part.attempt.worker, part.attempt.log].append(part)
    return tuple(sorted((_measure(found) for found in messages.values()), key=lambda measure: measure.ended))


def _measure(parts: Sequence[Part]) -> Measure:
    """A message may hold more than is in the sample, so its parts stand for as many as it began with."""
    first = parts[0].attempt
    ended = max(part.attempt.ended or 0.0 for part in parts)
    took = max(0.001, ended - min(part.attempt.started for part in parts))
    units = sum(part.units for part in parts)
    pure = [part.seconds for part in parts if part.seconds is not None]
    if len(pure) < len(parts) or sum(pure) > took:  # not recorded, or done side by side
        return Measure(first.worker, first.run, ended, units, took, 0.0)
    whole = sum(pure) * max(1.0, first.group / len(parts))
    return Measure(first.worker, first.run, ended, units, sum(pure), max(0.0, took - whole))


def rate_of(measures: Sequence[Measure], run: str) -> Rate | None:
    """The rate that `measures`, in the order of their end, show; None where there are none. What each worker's first
    message cost beside its work is taken for its warm-up, what the others did for their overhead."""
    if not measures:
        return None
    mean = sum(m.seconds for m in measures) / sum(m.units for m in measures)
    each = [m.seconds / m.units for m in measures]
    low, _, high = quantiles(each, n=4) if len(each) >= RANGED else (mean, mean, mean)
    firsts = {m.worker: m for m in reversed(measures)}.values()
    later = [m.overhead for m in measures if not any(m is first for first in firsts)]
    overhead = median(later) if later else 0.0
    warm_up = max(0.0, median(m.overhead for m in firsts) - overhead)
    here = sum(m.run == run for m in measures)
    return Rate(mean, min(low, mean), max(high, mean), overhead, warm_up, len(measures), here)


Made = Callable[[Plan, PlannedBase], Iterator[Part]]
"""What a run has made over one base."""
Cost = Callable[[Commit], tuple[float, Any]]
"""The units of a commit, and the seconds of pure work that it tells."""


def _training(adapter: PlannedAdapter, commit: Commit) -> tuple[float, Any]:
    told = commit.body.get("training", {})
    return float(told.get("steps", adapter.steps) - (told.get("resumed_from") or 0)), told.get("seconds")


def _answers(shard: Shard, commit: Commit) -> tuple[float, Any]:
    return float(shard.questions), commit.body.get("seconds")


def _alike(one: PlannedBase, other: PlannedBase) -> bool:
    """Whether work over two bases costs the same a unit, as far as plans tell."""
    sizes = ("batch_size", "max_length", "rank")
    same = all(one.recipe.get(name) == other.recipe.get(name) for name in sizes)
    orders = one.inference.get("permutations") == other.inference.get("permutations")
    made = (one.model.digest, one.engine, one.trainer) == (other.model.digest, other.engine, other.trainer)
    return made and same and orders


class RateReader:
    """Reads rates from one storage; what is committed is read once."""

    def __init__(self, storage: Storage, attempts: Attempts) -> None:
        self._storage = storage
        self._attempts = attempts
        self._parts: dict[str, Part] = {}
        self._told: dict[str, tuple[frozenset[str], float, Rates]] = {}

    def rates(self, plan: Plan, up: Iterable[str]) -> Rates:
        """Rates for the run of `plan` with the workers called `up`: measured on these where any of them was, and on
        earlier runs where this one shows nothing of a base. Raises OSError."""
        names = frozenset(up)
        told = self._told.get(plan.run)
        if told is not None and told[0] == names and time.monotonic() < told[1]:
            return told[2]
        rates = self._read(plan, names)
        self._told[plan.run] = (names, time.monotonic() + FRESH_SECONDS, rates)
        return rates

    def _read(self, plan: Plan, names: frozenset[str]) -> Rates:
        train: dict[str, Rate] = {}
        answer: dict[str, Rate] = {}
        seen: list[Measure] = []
        for base in plan.bases:
            for rates, parts in ((train, self._trainings), (answer, self._answers)):
                found = self._measured(plan, base, parts, names)
                rate = rate_of(found, plan.run)
                if rate is not None:
                    rates[base.name] = rate
                    seen += found
        workers = {measure.worker for measure in seen}
        elsewhere = () if workers & names or not names else tuple(sorted(workers))
        return Rates(train, answer, frozenset(m.worker for m in seen if m.run == plan.run) & names, elsewhere)

    def _measured(self, plan: Plan, base: PlannedBase, parts: Made, up: frozenset[str]) -> tuple[Measure, ...]:
        found = measures_of(parts(plan, base))
        if not found:
            for earlier, like in self._earlier(plan, base):
                found = measures_of(parts(earlier, like))
                if found:
                    break
        known = tuple(measure for measure in found if measure.worker in up)
        return known or found

    def _earlier(self, plan: Plan, base: PlannedBase) -> Iterator[tuple[Plan, PlannedBase]]:
        """Other runs over the same base, the latest first, with what that base is called there."""
        others = [path for path in self._storage.plans() if path.parent.name != plan.run]
        for path in others[-EARLIER:][::-1]:
            try:
                other = plan_from_json(self._storage.store.read(path))
            except (ValueError, KeyError, TypeError):  # another version's
                continue
            yield from ((other, each) for each in other.bases if _alike(each, base))

    def _trainings(self, plan: Plan, base: PlannedBase) -> Iterator[Part]:
        trained = self._storage.committed(ADAPTERS)
        for adapter in [a for a in plan.adapters_of(base) if a.key in trained][-TRAININGS:]:
            yield from self._part(ADAPTERS, adapter.key, partial(_training, adapter))

    def _answers(self, plan: Plan, base: PlannedBase) -> Iterator[Part]:
        """Of the last shards that the first member with any ballots has answered: one listing, also of a large run."""
        members = [adapter.key for adapter in plan.adapters_of(base)[:MEMBERS]]
        listed = (self._storage.committed(ballots_scope(key)) for key in members)
        answered = next((keys for keys in listed if keys), frozenset())
        looked, width = 0, len(plan.adapters)
        for index in reversed(range(len(plan.shards))) if answered else ():
            row = [c for c in plan.cells[index * width : (index + 1) * width] if c.adapter.key in members]
            if not any(cell.key in answered for cell in row):
                continue
            for cell in row:
                yield from self._part(cell.scope, cell.key, partial(_answers, cell.shard))
            looked += 1
            if looked == SHARDS:
                return

    def _part(self, scope: str, key: str, cost: Cost) -> Iterator[Part]:
        if key not in self._parts:
            commit = self._storage.record(scope, key)
            made = [a for a in self._attempts.history(key) if a.outcome is Outcome.COMMITTED]
            if commit is None or not made:
                return
            units, seconds = cost(commit)
            self._parts[key] = Part(made[-1], units, seconds if isinstance(seconds, int | float) else None)
        yield self._parts[key]
