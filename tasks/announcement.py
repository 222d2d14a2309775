"""Announcements: each worker says in Redis what it has, so that a batch can be refused before it is queued.

A hint that lives as long as its worker does; whoever asks when none is there knows nothing.
"""

from __future__ import annotations

from contextlib import suppress

import redis

from config.queues import WORKERS, worker_name
from nonet.limits.capacity import Capacity, capacity_from_json

LIFE_SECONDS = 60.0
"""How long an announcement stands that is not renewed."""
RENEW_SECONDS = 15.0


def announce(client: redis.Redis, capacity: Capacity) -> None:
    """Say what a worker has; raises redis.RedisError."""
    pipeline = client.pipeline(transaction=False)
    pipeline.sadd(WORKERS, capacity.worker)
    pipeline.set(worker_name(capacity.worker), capacity.to_json(), px=int(LIFE_SECONDS * 1000))
    pipeline.execute()


def withdraw(client: redis.Redis, worker: str) -> None:
    """Forget a worker that ends; Redis being away does not matter, since the announcement ends by itself."""
    with suppress(redis.RedisError):
        client.delete(worker_name(worker))
        client.srem(WORKERS, worker)


def known(client: redis.Redis) -> list[str]:
    """Names of the workers that have announced themselves, in order; raises redis.RedisError."""
    return sorted(as_text(name) for name in client.smembers(WORKERS))


def announced(client: redis.Redis) -> tuple[Capacity, ...]:
    """Every worker that has announced itself lately, by name; what cannot be read is left out.

    Raises redis.RedisError.
    """
    names = known(client)
    found = client.mget([worker_name(name) for name in names]) if names else []
    gone = [name for name, record in zip(names, found, strict=True) if record is None]
    if gone:
        client.srem(WORKERS, *gone)
    capacities = []
    for record in found:
        if record is not None:
            with suppress(ValueError, KeyError, TypeError, AttributeError, IndexError):
                capacities.append(capacity_from_json(record))
    return tuple(capacities)


def as_text(value: bytes | str) -> str:
    """What Redis gave, as text."""
    return value if isinstance(value, str) else value.decode(errors="replace")
