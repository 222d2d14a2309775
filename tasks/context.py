"""What a task needs from its worker: settings, storage, Redis, the compute process. Knows how to find it on the app."""

from __future__ import annotations

from dataclasses import dataclass

import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.settings import Settings
from nonet.limits.capacity import Capacity
from nonet.runs.attempt import Attempts
from nonet.runs.plan import Plan
from nonet.runs.plans import Plans
from nonet.stores.home import Home
from nonet.stores.storage import Storage
from tasks.line import Line
from tasks.port import Compute

SOCKET_SECONDS = 8
"""How long Redis may take to answer; no blocking command may wait for longer."""
_ATTRIBUTE = "nonet_context"


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The surroundings of every task of one worker process."""

    settings: Settings
    home: Home
    storage: Storage
    attempts: Attempts
    client: redis.Redis
    compute: Compute
    worker: str
    line: Line
    capacity: Capacity | None
    plans: Plans

    def plan(self, run: str) -> Plan:
        """The plan of `run`; raises OSError, ValueError."""
        return self.plans.read(self.home.plan(run))

    def cancelled(self, run: str) -> bool:
        return self.home.store.exists(self.home.cancelled(run))


def connect(url: str, seconds: float = SOCKET_SECONDS) -> redis.Redis:
    """A Redis client that notices a dead connection in `seconds`, tries once more on a new one, and then says so.

    Its callers have their own patience: leases are renewed and schedulers look again at their next beat, so that
    longer retries in here would only let leases run out.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=seconds,
        socket_connect_timeout=min(4.0, seconds),
        health_check_interval=5,
        retry=Retry(NoBackoff(), 1),
    )


def attach(app: Celery, context: TaskContext) -> None:
    """Make `context` the surroundings of the tasks of `app` in this process."""
    setattr(app, _ATTRIBUTE, context)


def context_of(app: Celery) -> TaskContext:
    """The surroundings attached to `app`; raises RuntimeError in a process that is not a Nonet worker."""
    context = getattr(app, _ATTRIBUTE, None)
    if not isinstance(context, TaskContext):
        raise RuntimeError("this process is not a Nonet worker: start one with `nonet worker`")
    return context
