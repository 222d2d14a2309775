"""Vital signs: a small record of every living worker and scheduler in Redis, which expires with it. Never the truth.

Knows one Redis key a process. `nonet metrics` shows them; nothing decides by them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import redis

from config.queues import VITALS, vitals_name

BEAT_SECONDS = 5.0
"""Between two records of one process."""
EXPIRE_SECONDS = 20.0
"""After which a process that writes no more is gone."""


class Vitals:
    """Writes the vital signs of this process from a thread of its own until it ends."""

    def __init__(self, client: redis.Redis, role: str, name: str, look: Callable[[], Mapping[str, Any]]) -> None:
        self._client = client
        self._role = role
        self._name = name
        self._look = look
        self._since = time.time()
        self._stop = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._beat, name="vitals", daemon=True).start()

    def close(self) -> None:
        """Write no more; the record expires."""
        self._stop.set()

    def _beat(self) -> None:
        while True:
            record = {"role": self._role, "name": self._name, "since": self._since, **self._look()}
            with suppress(redis.RedisError):
                self._client.set(vitals_name(self._role, self._name), json.dumps(record), px=int(EXPIRE_SECONDS * 1000))
            if self._stop.wait(BEAT_SECONDS):
                return


def read_vitals(client: redis.Redis) -> tuple[Mapping[str, Any], ...]:
    """The records of all living processes; what is not one is left out. Raises redis.RedisError."""
    names = sorted(client.scan_iter(match=f"{VITALS}*", count=1000))
    found = []
    for raw in client.mget(names) if names else ():
        with suppress(ValueError, TypeError):
            record = json.loads(raw or b"null")
            if isinstance(record, dict) and isinstance(record.get("role"), str) and isinstance(record.get("name"), str):
                found.append(record)
    return tuple(found)
