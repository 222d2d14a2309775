"""Waking the scheduler: a hint through Redis, never the truth. Knows one Redis list."""

from __future__ import annotations

from contextlib import suppress

import redis

from config.queues import WAKE
from tasks.context import SOCKET_SECONDS


def wake(client: redis.Redis) -> None:
    """Wake the schedulers; when Redis is away they look by themselves at their next tick."""
    with suppress(redis.RedisError):
        pipeline = client.pipeline()
        pipeline.lpush(WAKE, "1")
        pipeline.ltrim(WAKE, 0, 0)
        pipeline.execute()


def wait_for_wake(client: redis.Redis, seconds: float) -> bool:
    """Wait until woken, or for `seconds` (4 at most); True when woken. Raises redis.RedisError."""
    return client.blpop([WAKE], timeout=min(seconds, SOCKET_SECONDS / 2)) is not None
