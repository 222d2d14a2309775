"""The local fleet: Redis, scheduler, workers and Flower as child processes of `nonet up`. Knows starts and ends.

Every child dies with this process, also when it is killed; a child that ends by itself is started again.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from config.queues import Queue
from config.settings import Settings
from nonet.parent import die_with_parent
from workers.redis_server import free_port, start_redis, write_config

_RESTART_AFTER = 1.0
"""Seconds between two starts of a child that ends at once."""


class FleetRunsError(Exception):
    """Another fleet runs on this home."""


@dataclass
class _Child:
    """One process of the fleet, with what it takes to start it again."""

    name: str
    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = field(default=0.0)


class Fleet:
    """Everything on this machine: `with Fleet(settings, workers=2) as fleet: …`."""

    def __init__(
        self, settings: Settings, *, workers: int = 1, flower: bool = True, metrics: bool = False, page: bool = False
    ) -> None:
        self._settings = settings
        self._folder = settings.storage_home.fleet
        self._redis: subprocess.Popen[bytes] | None = None
        self._lock: IO[bytes] | None = None
        self._children: list[_Child] = []
        self._workers = workers
        self._flower_port = (settings.flower_port or free_port()) if flower else None
        self._metrics_port = (settings.metrics_port or free_port()) if metrics else None
        self._page_port = (settings.page_port or free_port()) if page else None

    @property
    def flower_url(self) -> str | None:
        return f"http://127.0.0.1:{self._flower_port}" if self._flower_port else None

    @property
    def metrics_url(self) -> str | None:
        return f"http://127.0.0.1:{self._metrics_port}/metrics" if self._metrics_port else None

    @property
    def page_url(self) -> str | None:
        return f"http://127.0.0.1:{self._page_port}" if self._page_port else None

    @property
    def logs(self) -> Path:
        """Folder of the children's own logs."""
        return self._folder / "logs"

    def __enter__(self) -> Fleet:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start Redis and wait for it, then the others; raises NoRedisError, FleetRunsError."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self._lock = self._locked()
        if self._settings.redis_url is None:
            write_config(self._folder)
            self._redis = start_redis(self._folder)
        self._add("scheduler", ["scheduler"])
        self._add("worker-cpu", ["worker", "--name", "cpu", "--queues", Queue.CPU.value])
        for index in range(self._workers):
            queues = f"{Queue.TRAIN.value},{Queue.INFER.value}"
            self._add(f"worker-{index}", ["worker", "--name", f"compute{index}", "--queues", queues])
        if self._flower_port:
            self._add("flower", ["flower", "--port", str(self._flower_port)])
        if self._metrics_port:
            self._add("metrics", ["metrics", "--port", str(self._metrics_port)])
        if self._page_port:
            self._add("page", ["serve", "--port", str(self._page_port)])

    def watch_once(self) -> tuple[str, ...]:
        """Start again what has ended; returns the names of those children."""
        again = []
        if self._redis is not None and self._redis.poll() is not None:
            self._redis = start_redis(self._folder)
            again.append("redis")
        for child in self._children:
            ended = child.process is not None and child.process.poll() is not None
            if ended and time.monotonic() - child.started > _RESTART_AFTER:
                self._spawn(child)
                again.append(child.name)
        return tuple(again)

    def pids(self) -> Mapping[str, int]:
        """Process ids of the running children by name."""
        running = {c.name: c.process.pid for c in self._children if c.process and c.process.poll() is None}
        if self._redis is not None and self._redis.poll() is None:
            running["redis"] = self._redis.pid
        return running

    def close(self) -> None:
        """End every child: SIGTERM, time to drain, SIGKILL to its group; Redis last."""
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
        end = time.monotonic() + self._settings.drain_seconds + 5
        for child in self._children:
            if child.process is not None:
                _end(child.process, end - time.monotonic())
        self._children.clear()
        if self._redis is not None:
            self._redis.terminate()
            _end(self._redis, 10)
            self._redis = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _locked(self) -> IO[bytes]:
        """The lock that keeps a second fleet off this home; it goes with this process, however that ends."""
        lock = (self._folder / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            home = self._settings.storage_home.store.url
            raise FleetRunsError(f"a fleet is up on {home} already; end it first, or use another --home") from None
        return lock

    def _add(self, name: str, arguments: Sequence[str]) -> None:
        child = _Child(name, [sys.executable, "-m", "cli", *arguments], self.logs / f"{name}.log")
        self._children.append(child)
        self._spawn(child)

    def _spawn(self, child: _Child) -> None:
        environment = os.environ | {"NONET_HOME": self._settings.storage_home.store.url}
        environment["NONET_CACHE"] = str(self._settings.cache.expanduser().resolve())
        if self._settings.s3_endpoint is not None:
            environment["NONET_S3_ENDPOINT"] = self._settings.s3_endpoint
        for name, port in (("NONET_FLOWER_PORT", self._flower_port), ("NONET_PAGE_PORT", self._page_port)):
            if port:
                environment[name] = str(port)  # they link to one another
        environment["NONET_STACKS"] = str(self._settings.stacks.resolve())
        with child.log.open("ab") as log:
            child.process = subprocess.Popen(
                list(child.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        child.started = time.monotonic()


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for `process`, then kill what is left of its group."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=max(0.1, seconds))
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
