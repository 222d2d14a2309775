"""One Celery worker: prefork, one task at a time, with a supervisor of its compute process. Knows Celery's signals.

The Celery child waits on the compute process, so that the parent answers Flower and `inspect` during a training.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from typing import Any

from celery import Celery, signals

from config.queues import Queue
from config.settings import Settings
from nonet.attempt import Attempts
from nonet.heartbeat import beat
from nonet.parent import die_with_parent
from nonet.storage import Storage
from tasks.app import make_app
from tasks.context import SOCKET_SECONDS, TaskContext, attach, connect
from tasks.line import Line
from workers.compute import ComputeSupervisor


def run_worker(settings: Settings, *, name: str, queues: Sequence[Queue]) -> None:
    """Work until told to stop: SIGTERM drains (checkpoint, give the work back), a second SIGTERM or SIGQUIT ends."""
    app = make_app(settings.redis())
    hostname = f"{name}@{settings.host}"
    _bind(app, settings, hostname)
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


def _bind(app: Celery, settings: Settings, hostname: str) -> None:
    """Give every pool process its surroundings, and tell it when the worker is to stop."""
    drain = multiprocessing.Event()
    supervisors: list[ComputeSupervisor] = []

    def on_process_init(**_: Any) -> None:
        die_with_parent()
        home = settings.storage_home
        supervisor = ComputeSupervisor(settings, drain.is_set)
        supervisors.append(supervisor)
        client = connect(settings.redis(), min(SOCKET_SECONDS, settings.lease_seconds / 3))
        storage, attempts = Storage(home), Attempts(home)
        attach(app, TaskContext(settings, home, storage, attempts, client, supervisor, hostname, Line(app)))

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
