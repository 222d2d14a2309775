"""What is in flight, as Redis sees it: messages that wait and leases that live. A hint; storage is the truth."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable
from typing import Protocol

import redis

from config.queues import EPOCH_MARK, SENT_AT, SETTLING, Queue, lease_name

FULL = 0.99
"""Share of Redis's maxmemory from which on it counts as full: what is freed is taken again at once."""


class InFlight(Protocol):
    """What a look at the fleet can tell."""

    def queued(self) -> frozenset[str]:
        """Artifact keys in messages that no worker has taken yet."""
        ...

    def leased(self, keys: Iterable[str]) -> frozenset[str]:
        """Those of `keys` that a worker holds."""
        ...

    def settling(self) -> bool:
        """Whether Redis was away, or lost its memory, so recently that living holders may not have taken their
        leases again."""
        ...


class RedisInFlight:
    """InFlight from the fleet's Redis; its methods raise redis.RedisError."""

    def __init__(self, client: redis.Redis, lease_seconds: float) -> None:
        self._client = client
        self._lease_milliseconds = int(lease_seconds * 1000)
        self._doubted = False

    def queued(self) -> frozenset[str]:
        keys: set[str] = set()
        for queue in Queue:
            for message in self._client.lrange(queue.value, 0, -1):
                keys.update(message_keys(message))
        return frozenset(keys)

    def waiting(self) -> dict[Queue, int]:
        """Messages that wait, by queue."""
        return {queue: int(self._client.llen(queue.value)) for queue in Queue}

    def oldest(self) -> dict[Queue, float]:
        """Seconds for which the first message of each queue has waited; 0 where none waits, or does not say."""
        now, microseconds = self._client.time()
        firsts = {queue: self._client.lindex(queue.value, -1) for queue in Queue}  # kombu pushes left, pops right
        sent = {queue: message_sent(first) if first is not None else None for queue, first in firsts.items()}
        return {q: 0.0 if at is None else max(0.0, now + microseconds / 1e6 - at) for q, at in sent.items()}

    def leased(self, keys: Iterable[str]) -> frozenset[str]:
        keys = tuple(keys)
        held = self._client.mget([lease_name(key) for key in keys]) if keys else []
        return frozenset(key for key, holder in zip(keys, held, strict=True) if holder is not None)

    def full(self) -> bool:
        """Whether Redis is at its memory limit, so that it refuses what needs more."""
        memory = self._client.info("memory")
        limit = int(memory.get("maxmemory", 0))
        return limit > 0 and int(memory["used_memory"]) >= FULL * limit

    def settling(self) -> bool:
        begun = time.monotonic()
        life = str(self._client.info("server")["run_id"])
        known = self._client.get(EPOCH_MARK) == life.encode()
        stalled = (time.monotonic() - begun) * 1000 > self._lease_milliseconds / 3
        if self._doubted or stalled or not known:
            self._client.set(SETTLING, "1", px=self._lease_milliseconds)
            self._client.set(EPOCH_MARK, life)
            self._doubted = False
        return self.is_settling()

    def is_settling(self) -> bool:
        """Whether a scheduler has found Redis to be settling; a look that marks nothing."""
        return bool(self._client.exists(SETTLING))

    def doubt(self) -> None:
        """Redis was away, or hung: leases may have run out although their holders live."""
        self._doubted = True


class UnknownInFlight:
    """InFlight without a Redis to ask: nothing waits, and whoever began and has not ended is taken to be at work."""

    def queued(self) -> frozenset[str]:
        return frozenset()

    def leased(self, keys: Iterable[str]) -> frozenset[str]:
        return frozenset(keys)

    def settling(self) -> bool:
        return False


def message_sent(message: bytes | str) -> float | None:
    """When a Celery message on a Redis list was enqueued, on Redis's clock; None where it does not say so."""
    try:
        return float(json.loads(message)["headers"][SENT_AT])
    except (ValueError, KeyError, TypeError):
        return None


def message_keys(message: bytes | str) -> tuple[str, ...]:
    """The artifact keys in a Celery message on a Redis list; none when it is not one of Nonet's."""
    try:
        body = json.loads(base64.b64decode(json.loads(message)["body"]))
        return tuple(str(key) for key in body[1]["keys"])
    except (ValueError, KeyError, TypeError, IndexError):
        return ()
