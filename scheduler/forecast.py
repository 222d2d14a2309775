"""Forecast: how long a run will still take, from measured rates. Pure: knows no storage, no clock and no words.

Trainings to come go, in the plan's order, to whoever is free first. Answering is taken to be divisible, since shards
are small, and begins for each adapter when it is trained. Where every worker takes the same queues, or each takes one,
more workers, faster rates or less work never make it later (tests/unit/test_forecast.py). Other runs that the same
workers have to do are not known here.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from config.queues import Queue
from scheduler.state import RunState
from scheduler.work_left import InWork, WorkLeft, work_left


@dataclass(frozen=True, slots=True)
class Rate:
    """What a unit of one kind of work costs in seconds: the mean, and quartiles of what was measured; what a message
    costs besides (`overhead`), and the first one of a process beyond that (`warm_up`).

    `count` measurements, `here` of which are this run's; 0 where the pace of what is in work was taken.
    """

    seconds: float
    low: float
    high: float
    overhead: float = 0.0
    warm_up: float = 0.0
    count: int = 0
    here: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates by base: of a step of training, of a question that a member answers. `warm`: workers that need no warm-up;
    `elsewhere`: workers that were measured, where none of those that are up was."""

    train: Mapping[str, Rate] = field(default_factory=dict)
    answer: Mapping[str, Rate] = field(default_factory=dict)
    warm: frozenset[str] = frozenset()
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker that is up, what it takes, and whether it has a GPU."""

    name: str
    queues: frozenset[str]
    gpu: bool = False


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """What one worker is at, and for how many seconds more (None: not known)."""

    worker: str
    names: tuple[str, ...]
    trains: bool
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds until the last cell is answered, with the range of the quartiles; None where `unknown` says why.

    `training` is when the last training ends, `work` the seconds that one worker alone would need. `sooner` holds what
    would make it earlier: seconds with one more worker, and the part of answering that is overhead of messages.
    """

    seconds: float | None
    low: float | None
    high: float | None
    training: float | None
    work: float | None
    left: WorkLeft
    workers: tuple[LiveWorker, ...]
    busy: tuple[WorkerLeft, ...]
    rates: Rates
    lacking: frozenset[str]
    """Queues for which there is work and nobody takes it."""
    unknown: tuple[tuple[str, str], ...]
    """(queue, base) of work whose rate nobody has measured."""
    one_more: float | None = None
    overhead: float | None = None


def forecast(state: RunState, measured: Rates, up: Sequence[LiveWorker]) -> Forecast:
    """How long the run of `state` still takes with the workers that are `up`; those that hold work count as up."""
    return forecast_of(work_left(state), measured, up)


def forecast_of(left: WorkLeft, measured: Rates, up: Sequence[LiveWorker]) -> Forecast:
    """How long the work `left` takes."""
    rates = _with_pace(left, measured)
    workers = _known(up, left)
    unknown = tuple(_unknown(left, rates))
    lacking = _lacking(left, workers)
    busy = tuple(
        WorkerLeft(h.worker, h.names, h.trains, _held_seconds(h, rates, "seconds")) for h in left.in_work
    )  # fmt: skip
    ends = {
        kind: None if unknown or lacking else _end(left, rates, workers, kind) for kind in ("low", "seconds", "high")
    }
    trained = None
    if not any(queue == Queue.TRAIN for queue, _ in unknown) and Queue.TRAIN not in lacking:
        trained = _trained(left, rates, workers)
    return Forecast(
        seconds=ends["seconds"],
        low=ends["low"],
        high=ends["high"],
        training=trained,
        work=None if unknown else _work(left, rates),
        left=left,
        workers=tuple(workers),
        busy=busy,
        rates=rates,
        lacking=lacking,
        unknown=unknown,
        one_more=None if unknown else _end(left, rates, [*workers, replace(_ALONE, name="one more")], "seconds"),
        overhead=None if unknown else _overhead_share(left, rates),
    )


_ALONE = LiveWorker("alone", frozenset({Queue.TRAIN.value, Queue.INFER.value}))


def _with_pace(left: WorkLeft, rates: Rates) -> Rates:
    """`rates` with the pace of what is in work: each counts as one measurement of this run, more than earlier runs'."""

    def blended(known: Mapping[str, Rate], trains: bool) -> dict[str, Rate]:
        shown: dict[str, list[float]] = {}
        for held in left.in_work:
            if held.trains is trains and held.pace is not None:
                shown.setdefault(held.base, []).append(held.pace)
        return {**known, **{base: _blended(known.get(base), paces) for base, paces in shown.items()}}

    return replace(rates, train=blended(rates.train, True), answer=blended(rates.answer, False))


def _blended(rate: Rate | None, paces: Sequence[float]) -> Rate:
    pace = fmean(paces)
    if rate is None or not rate.here:
        wide = (1.0, 1.0) if rate is None else (rate.low / rate.seconds, rate.high / rate.seconds)
        low, high = min(min(paces), pace * wide[0]), max(max(paces), pace * wide[1])
        return Rate(pace, low, high, *((rate.overhead, rate.warm_up) if rate else ()))
    mean = (rate.seconds * rate.here + pace * len(paces)) / (rate.here + len(paces))
    return replace(rate, seconds=mean, low=min(rate.low, mean), high=max(rate.high, mean))


def _known(up: Sequence[LiveWorker], left: WorkLeft) -> list[LiveWorker]:
    computing = [worker for worker in up if worker.queues & _ALONE.queues]
    names = {worker.name for worker in computing}
    holders = {held.worker for held in left.in_work} - names
    return [*computing, *(replace(_ALONE, name=name) for name in sorted(holders))]


def _unknown(left: WorkLeft, rates: Rates) -> Iterable[tuple[str, str]]:
    training = {t.base for t in left.trainings} | {h.base for h in left.in_work if h.trains and h.told is None}
    answering = {a.base for a in left.answers} | {h.base for h in left.in_work if not h.trains}
    yield from ((Queue.TRAIN.value, base) for base in sorted(training - rates.train.keys()))
    yield from ((Queue.INFER.value, base) for base in sorted(answering - rates.answer.keys()))


def _lacking(left: WorkLeft, workers: Sequence[LiveWorker]) -> frozenset[str]:
    asked = {Queue.TRAIN.value: bool(left.trainings), Queue.INFER.value: bool(left.answers)}
    return frozenset(q for q, needed in asked.items() if needed and not any(q in w.queues for w in workers))


def _held_seconds(held: InWork, rates: Rates, kind: str) -> float | None:
    """How long a worker is still at what it holds."""
    rate = (rates.train if held.trains else rates.answer).get(held.base)
    if held.told is not None:
        return held.told * (getattr(rate, kind) / rate.seconds if rate is not None and rate.seconds else 1.0)
    return None if rate is None else held.units * float(getattr(rate, kind))


def _free(left: WorkLeft, rates: Rates, workers: Sequence[LiveWorker], kind: str) -> dict[str, float]:
    """When each worker is done with what it is at; one that is at nothing has to warm up first, unless it is warm."""
    holds: dict[str, float] = {}
    for held in left.in_work:
        holds[held.worker] = holds.get(held.worker, 0.0) + (_held_seconds(held, rates, kind) or 0.0)
    cold = max((rate.warm_up for rate in (*rates.train.values(), *rates.answer.values())), default=0.0)
    return {w.name: holds.get(w.name, 0.0 if w.name in rates.warm else cold) for w in workers}


def _schedule(
    left: WorkLeft, rates: Rates, workers: Sequence[LiveWorker], kind: str, free: dict[str, float]
) -> dict[str, float]:
    """When each adapter that is not trained yet will be; `free` is brought to after that."""
    done = {name: free.get(held.worker, 0.0) for held in left.in_work if held.trains for name in held.names}
    queue = [(free[worker.name], worker.name) for worker in workers if Queue.TRAIN in worker.queues]
    heapq.heapify(queue)
    together: dict[tuple[str, str], list[str]] = {}
    for training in left.trainings:
        rate = rates.train[training.base]
        start, name = queue[0]
        done[training.adapter] = start + training.units * float(getattr(rate, kind)) + rate.overhead
        free[name] = done[training.adapter]
        heapq.heapreplace(queue, (free[name], name))
        if training.joint:
            together.setdefault((name, training.base), []).append(training.adapter)
    for adapters in together.values():
        done |= dict.fromkeys(adapters, max(done[adapter] for adapter in adapters))
    return done


def _trained(left: WorkLeft, rates: Rates, workers: Sequence[LiveWorker]) -> float:
    free = _free(left, rates, workers, "seconds")
    return max(_schedule(left, rates, workers, "seconds", free).values(), default=0.0)


def _work(left: WorkLeft, rates: Rates) -> float:
    """Seconds that one worker alone would need."""
    held = sum(_held_seconds(each, rates, "seconds") or 0.0 for each in left.in_work)
    trainings = sum(t.units * rates.train[t.base].seconds + rates.train[t.base].overhead for t in left.trainings)
    return held + trainings + sum(seconds for _, seconds in _released(left, rates, "seconds", {}))


def _end(left: WorkLeft, rates: Rates, workers: Sequence[LiveWorker], kind: str) -> float:
    """When the last cell is answered."""
    free = _free(left, rates, workers, kind)
    done = _schedule(left, rates, workers, kind, free)
    busy = max([0.0, *done.values(), *(free[h.worker] for h in left.in_work if h.worker in free)])
    answering = [free[worker.name] for worker in workers if Queue.INFER in worker.queues]
    released = sorted(_released(left, rates, kind, done), reverse=True)
    ends, work = [busy], 0.0
    for moment, seconds in released:  # all that can begin at this moment or later has to fit after it
        work += seconds
        ends.append(_filled([max(moment, start) for start in answering], work))
    return max(ends)


def _released(left: WorkLeft, rates: Rates, kind: str, done: Mapping[str, float]) -> Iterable[tuple[float, float]]:
    """(when it can begin, seconds of one worker) of each adapter's cells, and of the messages of each base."""
    for each in left.answers:
        yield done.get(each.adapter, 0.0), each.units * float(getattr(rates.answer[each.base], kind))
    for base, count in left.messages.items():
        last = max((done.get(each.adapter, 0.0) for each in left.answers if each.base == base), default=0.0)
        yield last, count * rates.answer[base].overhead


def _filled(starts: Sequence[float], work: float) -> float:
    """The earliest moment by which workers who begin at `starts` have done `work` seconds of divisible work."""
    if work <= 0:
        return 0.0
    ordered, total = sorted(starts), 0.0
    for count, start in enumerate(ordered, 1):
        total += start
        moment = (work + total) / count
        if count == len(ordered) or moment <= ordered[count]:
            return moment
    return float("inf")


def _overhead_share(left: WorkLeft, rates: Rates) -> float | None:
    """The part of the answering to come that messages cost, whatever they hold; None where there is none."""
    cost = sum(count * rates.answer[base].overhead for base, count in left.messages.items())
    whole = cost + sum(each.units * rates.answer[each.base].seconds for each in left.answers)
    return cost / whole if whole > 0 else None
