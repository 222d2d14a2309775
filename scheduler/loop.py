"""The scheduler process: look at every run, do what is needed, wait to be woken. Keeps nothing that it cannot lose."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from config.queues import Queue, sent_name
from config.settings import Settings
from nonet.heartbeat import beat
from nonet.runs.attempt import Attempts, ErrorClass, Outcome
from nonet.runs.plan import PEFT, Plan
from nonet.runs.plans import Plans
from nonet.stores.storage import Storage
from scheduler.dispatch import dispatch
from scheduler.inflight import RedisInFlight
from scheduler.notify import Notifier
from scheduler.reconcile import Message, reconcile
from scheduler.rest import Rests
from scheduler.state import Phase, RunState, StateReader
from scheduler.tidy import tidying
from tasks.announcement import announced
from tasks.app import make_app
from tasks.context import connect
from tasks.lease import EXPIRED
from tasks.line import Line
from tasks.vitals import Vitals
from tasks.wake import wait_for_wake

log = logging.getLogger("nonet.scheduler")
TIDY_SECONDS = 0.25
"""For how long leftovers are removed before the scheduler looks whether it is woken."""
BREATH_SECONDS = 0.01


class Scheduler:
    """Reconciles every run under one home. Any number of them may work side by side."""

    def __init__(self, settings: Settings, client: redis.Redis, app: Celery) -> None:
        self._settings = settings
        self._client = client
        self._app = app
        self._line = Line(app)
        home = settings.storage_home
        self._storage = Storage(home)
        self._attempts = Attempts(home)
        self._in_flight = RedisInFlight(client, settings.lease_seconds)
        self._plans = Plans(home.store)
        self._reader = StateReader(self._storage, self._attempts, self._in_flight, settings.failure_limit)
        self._rests = Rests()
        url = settings.webhook_url
        self._notifier = Notifier(url.get_secret_value(), self._storage, client) if url is not None else None
        self._phases: dict[str, Phase] = {}
        self._untidy: dict[str, tuple[RunState, Iterator[None]]] = {}
        self._reported: dict[str, str] = {}

    def tick(self) -> int:
        """Look at every run once and enqueue what it needs; returns the number of messages sent.

        Raises redis.RedisError, kombu OperationalError, OSError (also for a storage that is nearly full).
        """
        short = self._storage.store.shortage(self._settings.reserve)
        if short is not None:
            raise OSError(errno.ENOSPC, short)
        return sum(self._reconciled(plan) for plan in self._open_plans())

    def _reconciled(self, plan: Plan) -> int:
        """One run; a run whose records make no sense is reported and stands still, so that the others go on."""
        try:
            return self._reconcile(plan)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            self._report(plan.run, f"run {plan.run} cannot be worked on: {type(error).__name__}: {error}")
            return 0

    def _reconcile(self, plan: Plan) -> int:
        state = self._reader.read(plan)
        if self._phases.get(plan.run) is not state.phase:
            log.info("run %s: %s", plan.run, state.phase)
            self._phases[plan.run] = state.phase
            self._untidy.pop(plan.run, None)
            if state.phase is not Phase.RUNNING:
                self._untidy[plan.run] = (state, tidying(self._storage, self._attempts, state))
        if self._notifier is not None:
            with suppress(OSError, KeyError):  # at the next tick, then: nothing waits for it
                self._notifier.tell(state)
        resting = self._rests.resting(state.units, time.monotonic())
        decision = reconcile(state, self._in_flight.waiting(), self._settings.window, resting, self._trainers(plan))
        lost = () if decision.lost and self._in_flight.settling() else decision.lost  # Redis may have died since
        for key, epoch in lost:
            if self._attempts.end(key, epoch, Outcome.LOST, ErrorClass.WORKER_LOST, EXPIRED):
                log.warning("run %s: attempt %d at %s: %s", plan.run, epoch, key[:12], EXPIRED)
                self._client.delete(sent_name(key))  # the mark of the message that the lost worker took
        sent = sum(self._dispatch(message) for message in decision.messages)
        if lost:
            sent += self._reconcile(plan)
        return sent

    def _trainers(self, plan: Plan) -> int:
        """Workers that train, as they have announced themselves; it says how to share work out, and no more."""
        if all(base.trainer == PEFT for base in plan.bases):
            return 1
        return sum(Queue.TRAIN in worker.queues for worker in announced(self._client))

    def _tidy(self) -> bool:
        """Remove leftovers for TIDY_SECONDS; False where storage does not let that happen now. Then it is tried again
        after a later tick: nothing waits for it.
        """
        run, (state, steps) = next(iter(self._untidy.items()))
        end = time.monotonic() + TIDY_SECONDS
        try:
            for _ in steps:
                if time.monotonic() > end:
                    return True
        except OSError as error:
            self._report(f"leftovers of {run}", f"leftovers of run {run} stay for now: {error}")
            del self._untidy[run]  # others first
            self._untidy[run] = (state, tidying(self._storage, self._attempts, state))
            return False
        del self._untidy[run]
        return True

    def _dispatch(self, message: Message) -> bool:
        return dispatch(self._app, self._line, self._client, message, self._settings.lease_seconds)

    def wait(self) -> None:
        """Wait until woken, or for one tick; tidy meanwhile. Raises redis.RedisError."""
        begun = time.monotonic()
        end = begun + self._settings.tick_seconds
        while self._untidy and time.monotonic() < end and self._tidy():
            if wait_for_wake(self._client, BREATH_SECONDS):
                return
        wait_for_wake(self._client, max(BREATH_SECONDS, end - time.monotonic()))
        if time.monotonic() - begun > self._settings.tick_seconds + self._settings.lease_seconds / 3:
            self._in_flight.doubt()

    def close(self) -> None:
        """End the connections to Redis."""
        self._line.close()
        self._client.close()

    def interrupted(self) -> None:
        """Redis could not be asked: holders get the time to take up their leases before any is judged lost."""
        self._in_flight.doubt()

    def _open_plans(self) -> Iterator[Plan]:
        """Plans in the order in which they were submitted; one that cannot be read is reported and left out."""
        store = self._storage.store
        plans = self._storage.plans()
        if self._phases and not plans:
            raise OSError(errno.ENOENT, f"the runs under {store.url} are gone; is the storage mounted?")
        for path in plans:
            try:
                yield self._plans.read(path)
            except (ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
                self._report(str(path), f"{store.place(path)} cannot be read ({error}); submit its batch again")

    def _report(self, place: str, text: str) -> None:
        """Log an error that lasts once, not at every tick."""
        if self._reported.get(place) != text:
            self._reported[place] = text
            log.error("%s", text)


def run_scheduler(settings: Settings) -> None:
    """Reconcile until SIGTERM or SIGINT. Redis or storage being away is reported, and waited for."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    url = settings.redis()
    client = connect(url)
    scheduler = Scheduler(settings, client, make_app(url))
    log.info("scheduler on %s", settings.storage_home.store.url)
    vitals = Vitals(client, "scheduler", f"{os.getpid()}@{settings.host}", dict)
    vitals.start()
    trouble: str | None = None
    with suppress(SystemExit):
        while not stop.is_set():
            try:
                scheduler.tick()
                if trouble:
                    log.info("going on")
                trouble = None
                scheduler.wait()
                beat(settings.heartbeat_file)  # storage was read and Redis answered
            except (redis.RedisError, OperationalError, OSError) as error:
                place = "storage" if isinstance(error, OSError) and not _is_network(error) else "Redis"
                if place == "Redis":
                    scheduler.interrupted()
                if trouble != f"{place}: {error}":
                    trouble = f"{place}: {error}"
                    log.error("paused, %s is not well: %s", place, error)
                time.sleep(1.0)


def _is_network(error: OSError) -> bool:
    return isinstance(error, ConnectionError | TimeoutError)
