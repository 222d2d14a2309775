"""Progress of running work: a small file a key for `watch`, a Celery event for Flower. All of it may be lost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from celery import Task

from nonet.duration import duration
from tasks.context import TaskContext
from tasks.pace import Pace

PROGRESS_EVENT = "task-progress"
"""Celery event that Flower shows as the state PROGRESS of the task, its text in the result column."""
_WAITING = {"phase": "waiting"}
_UNHEARD_SECONDS = 20.0
"""How long no event is sent after one could not be."""


class Progress:
    """Reports of one task: once a second at most, and on storage as often as its store likes."""

    def __init__(self, task: Task, context: TaskContext, keys: Iterable[str]) -> None:
        self._task = task
        self._context = context
        self._keys = tuple(keys)
        self._pace = Pace()
        self._last = 0.0
        self._written = 0.0
        self._unheard_until = 0.0

    def report(self, event: Mapping[str, Any]) -> None:
        """Pass on a `progress` event of the compute process. Where it says how `adapters` stand, each key has its own
        part of it, and one that is not among them waits for its turn; the event itself is of all of them.
        """
        now = time.monotonic()
        rates = self._pace.rates(event, now)
        if now - self._last < 1.0:
            return
        self._last = now
        record = {k: v for k, v in event.items() if k not in ("event", "id", "adapters")} | rates
        apart = event.get("adapters")
        home = self._context.home
        if now - self._written >= home.store.look_seconds:
            self._written = now
            with suppress(OSError):
                for key in self._keys:
                    own = record if apart is None else record | apart[key] if key in apart else _WAITING
                    home.store.replace(home.progress(key), json.dumps(own).encode())
        if now >= self._unheard_until:
            self._tell(describe(record))

    def end(self, key: str) -> None:
        """Report no more of `key`: its attempt has ended, the work of the others goes on."""
        self._keys = tuple(other for other in self._keys if other != key)

    def _tell(self, text: str) -> None:
        """Send the Celery event. Monitoring must neither end nor delay work: a Redis that is away is left alone."""
        try:
            with self._context.line.connection() as connection:
                events = self._task.app.events.Dispatcher(connection, hostname=self._task.request.hostname)
                events.send(PROGRESS_EVENT, retry=False, uuid=self._task.request.id, result=text)
        except Exception:
            self._unheard_until = time.monotonic() + _UNHEARD_SECONDS


def describe(record: Mapping[str, Any]) -> str:
    """One line for a person: `training 120/300, loss 0.912, 41 s left`."""
    done, total = record.get("step", record.get("done")), record.get("steps", record.get("total"))
    parts = [str(record.get("phase", "working"))]
    if done is not None and total:
        parts[0] += f" {done}/{total}"
    if record.get("written") is not None:
        parts.append(f"{record['written']:,} tokens written")
    if record.get("loss") is not None:
        parts.append(f"loss {record['loss']:.3f}")
    if record.get("seconds_left") is not None:
        parts.append(f"{duration(record['seconds_left'])} left")
    return ", ".join(parts)
