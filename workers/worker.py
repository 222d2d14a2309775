"""One Celery worker: prefork, one task at a time, with a supervisor of its compute process. Knows Celery's signals.

The Celery child waits on the compute process, so that the parent answers Flower and `inspect` during a training.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis
from celery import Celery, signals

from config.queues import Queue
from config.settings import Settings
from nonet.heartbeat import beat
from nonet.limits.capacity import Capacity
from nonet.parent import die_with_parent
from nonet.runs.attempt import Attempts
from nonet.runs.plans import Plans
from nonet.stores.storage import Storage
from tasks.announcement import RENEW_SECONDS, announce, withdraw
from tasks.app import make_app
from tasks.context import SOCKET_SECONDS, TaskContext, attach, connect
from tasks.line import Line
from tasks.vitals import Vitals
from workers.compute import ComputeSupervisor
from workers.gpu_memory import memory_signs
from workers.hardware import capacity_of

_ANNOUNCING_SECONDS = 2.0
"""How long Redis may take to hear an announcement, which is made in the worker's own loop."""


def run_worker(settings: Settings, *, name: str, queues: Sequence[Queue]) -> None:
    """Work until told to stop: SIGTERM drains (checkpoint, give the work back), a second SIGTERM or SIGQUIT ends."""
    app = make_app(settings.redis())
    hostname = f"{name}@{settings.host}"
    capacity = capacity_of(settings, hostname, queues)
    _bind(app, settings, hostname, queues, capacity)
    if capacity is not None:
        _announce(settings, capacity)
    app.worker_main(
        [
            "worker",
            f"--hostname={hostname}",
            f"--queues={','.join(q.value for q in queues)}",
            "--pool=prefork",
            "--concurrency=1",
            "--events",
            "--without-mingle",
            "--without-gossip",
            f"--loglevel={os.environ.get('NONET_LOG_LEVEL', 'INFO')}",
        ]
    )


def _announce(settings: Settings, capacity: Capacity) -> None:
    """Have the worker say what it has for as long as it lives."""
    client = connect(settings.redis(), _ANNOUNCING_SECONDS)
    said = -RENEW_SECONDS

    def on_heartbeat(**_: Any) -> None:
        nonlocal said
        if time.monotonic() - said >= RENEW_SECONDS:
            said = time.monotonic()
            with suppress(redis.RedisError):
                announce(client, capacity)

    def on_shutdown(**_: Any) -> None:
        withdraw(client, capacity.worker)

    signals.heartbeat_sent.connect(on_heartbeat, weak=False)
    signals.worker_shutdown.connect(on_shutdown, weak=False)


def _bind(app: Celery, settings: Settings, hostname: str, queues: Sequence[Queue], capacity: Capacity | None) -> None:
    """Give every pool process its surroundings, and tell it when the worker is to stop."""
    drain = multiprocessing.Event()
    supervisors: list[ComputeSupervisor] = []

    def on_process_init(**_: Any) -> None:
        die_with_parent()
        home = settings.storage_home
        supervisor = ComputeSupervisor(settings, drain.is_set)
        supervisors.append(supervisor)
        client = connect(settings.redis(), min(SOCKET_SECONDS, settings.lease_seconds / 3))
        storage, attempts, plans = Storage(home), Attempts(home), Plans(home.store)
        line = Line(app)
        attach(app, TaskContext(settings, home, storage, attempts, client, supervisor, hostname, line, capacity, plans))
        taken = [queue.value for queue in queues]
        Vitals(
            client, "worker", hostname, lambda: {"queues": taken, **memory_signs(settings.device, supervisor.pid)}
        ).start()

    def on_process_shutdown(**_: Any) -> None:
        for supervisor in supervisors:
            supervisor.close()

    def on_shutting_down(**_: Any) -> None:
        drain.set()

    def on_heartbeat(**_: Any) -> None:
        beat(settings.heartbeat_file)

    signals.worker_process_init.connect(on_process_init, weak=False)
    signals.worker_process_shutdown.connect(on_process_shutdown, weak=False)
    signals.worker_shutting_down.connect(on_shutting_down, weak=False)
    signals.heartbeat_sent.connect(on_heartbeat, weak=False)
