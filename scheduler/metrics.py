"""Metrics: what Prometheus reads of a fleet, from storage and Redis. Knows names and values; serves nothing.

Stateless: every counter is counted from storage, so that any number of exporters, and one started again, say the same.
docs/operations.md lists the names; they follow https://prometheus.io/docs/practices/naming.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import redis
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import nonet
from config.queues import Queue
from config.settings import Settings
from nonet.runs.attempt import Attempts
from nonet.runs.plan import Plan, plan_from_json
from nonet.stores.storage import Storage
from scheduler.executions import Counts, Executions
from scheduler.inflight import RedisInFlight, UnknownInFlight
from scheduler.live import live_metrics, process_metrics
from scheduler.state import Phase, RunState, StateReader, UnitState
from tasks.vitals import read_vitals

FRESH_SECONDS = 5.0
"""For how long one reading serves every scrape, so that many scrapers cost no more than one."""
RUNS = 50
"""How many runs, the latest submitted, are told by name; executions of all runs are counted."""


class _Seen(RedisInFlight):
    """What is in flight, without the mark that a scheduler sets: whoever only looks changes nothing."""

    def settling(self) -> bool:
        return self.is_settling()


@dataclass(frozen=True)
class Reading:
    """One look at a fleet."""

    states: tuple[RunState, ...] = ()
    counts: Counts | None = None
    queues: Mapping[Queue, tuple[int, float]] = field(default_factory=dict)
    vitals: tuple[Mapping[str, object], ...] = ()
    redis_up: bool = False
    storage_up: bool = False
    free_bytes: int | None = None


class FleetMetrics(Collector):
    """Metric families of one fleet for a registry of prometheus_client; a reading is kept for FRESH_SECONDS."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self._client = client
        self._storage = Storage(settings.storage_home)
        self._attempts = Attempts(settings.storage_home)
        self._executions = Executions(self._attempts)
        self._plans: dict[str, Plan] = {}
        self._in_flight = _Seen(client, settings.lease_seconds)
        self._limit = settings.failure_limit
        self._reader = StateReader(self._storage, self._attempts, self._in_flight, self._limit)
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._families: tuple[Metric, ...] = ()

    def collect(self) -> Iterator[Metric]:
        """Every family, also those without a sample at the moment."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                begun = time.monotonic()
                reading = self.read()
                seconds = time.monotonic() - begun
                self._families = (*families(reading), _gauge("nonet_reading_seconds", "Time to read it all", seconds))
                self._read_at = time.monotonic()
        yield from self._families

    def read(self) -> Reading:
        """Look at Redis, then at storage; what cannot be reached is told as down, and the other all the same."""
        queues, vitals, redis_up = self._read_redis()
        try:
            states = self._states(redis_up)
            counts = self._executions.count(self._plans)
            free = self._storage.store.free_bytes()
        except OSError:
            return Reading(queues=queues, vitals=vitals, redis_up=redis_up)
        return Reading(states, counts, queues, vitals, redis_up, True, free)

    def _read_redis(self) -> tuple[dict[Queue, tuple[int, float]], tuple[Mapping[str, object], ...], bool]:
        try:
            waiting, oldest = self._in_flight.waiting(), self._in_flight.oldest()
            return {queue: (waiting[queue], oldest[queue]) for queue in Queue}, read_vitals(self._client), True
        except redis.RedisError:
            return {}, (), False

    def _states(self, redis_up: bool) -> tuple[RunState, ...]:
        reader = self._reader
        if not redis_up:
            reader = StateReader(self._storage, self._attempts, UnknownInFlight(), self._limit)
        latest = self._latest_plans()[-RUNS:]
        try:
            return tuple(reader.read(plan) for plan in latest)
        except redis.RedisError:  # gone in this moment
            return ()

    def _latest_plans(self) -> list[Plan]:
        """Every plan, the latest submitted last. A plan never changes, so each is read once."""
        found = {path.parent.name: path for path in self._storage.plans()}
        for run in found.keys() - self._plans.keys():
            with suppress(ValueError, KeyError, TypeError):  # another version's; the scheduler reports it
                self._plans[run] = plan_from_json(self._storage.store.read(found[run]))
        return [self._plans[run] for run in found if run in self._plans]


def families(reading: Reading) -> Iterator[Metric]:
    """The metric families of a reading."""
    yield _labelled("nonet_build_info", "The version of Nonet", ["version"], [([nonet.__version__], 1)])
    yield _gauge("nonet_redis_up", "Whether Redis answers", reading.redis_up)
    yield _gauge("nonet_storage_up", "Whether shared storage can be read", reading.storage_up)
    yield _gauge("nonet_storage_free_bytes", "Free space under the home, or under its cache", reading.free_bytes)
    queues = [(queue.value, *measured) for queue, measured in reading.queues.items()]
    yield _labelled("nonet_queue_messages", "Messages that wait", ["queue"], [([q], n) for q, n, _ in queues])
    yield _labelled(
        "nonet_queue_oldest_message_age_seconds",
        "For how long the first message of a queue has waited",
        ["queue"],
        [([q], age) for q, _, age in queues],
    )
    yield from _run_metrics(reading.states)
    yield from _execution_metrics(reading.counts)
    yield from live_metrics(reading.states)
    yield from process_metrics(reading.vitals, reading.redis_up)


def _run_metrics(states: Iterable[RunState]) -> Iterator[Metric]:
    states = tuple(states)
    phases = [([s.plan.run, phase.value], s.phase is phase) for s in states for phase in Phase]
    yield _labelled("nonet_run_phase", "1 for the phase that a run is in", ["run", "phase"], phases)
    for name, kind in (("nonet_adapters", "adapters"), ("nonet_cells", "cells")):
        samples = []
        for s in states:
            found = Counter(unit.state for unit in getattr(s, kind))
            samples += [([s.plan.run, state.value], found[state]) for state in UnitState]
        yield _labelled(name, f"The {kind} of a run by state", ["run", "state"], samples)
    answered = CounterMetricFamily(
        "nonet_questions_answered", "Questions whose ballots are committed, over all members", labels=["run"]
    )
    for s in states:
        committed = (c.shard.questions for c, u in zip(s.plan.cells, s.cells, strict=True) if u.state is _DONE)
        answered.add_metric([s.plan.run], sum(committed))
    yield answered


_DONE = UnitState.COMMITTED


def _execution_metrics(counts: Counts | None) -> Iterator[Metric]:
    begun = CounterMetricFamily("nonet_executions_begun", "Attempts begun, by task", labels=["task"])
    ended = CounterMetricFamily(
        "nonet_executions", "Attempts ended, by task and how", labels=["task", "outcome", "error_class"]
    )
    lost = CounterMetricFamily("nonet_lease_losses", "Attempts that lost their lease, by task", labels=["task"])
    if counts is not None:
        for task, number in counts.begun.items():
            begun.add_metric([task], number)
        for labels, number in counts.ended.items():
            ended.add_metric(list(labels), number)
        for task, number in counts.leases_lost.items():
            lost.add_metric([task], number)
    yield from (begun, ended, lost)


def _gauge(name: str, text: str, value: float | None) -> Metric:
    return GaugeMetricFamily(name, text) if value is None else GaugeMetricFamily(name, text, value=float(value))


def _labelled(name: str, text: str, labels: list[str], samples: Iterable[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family
