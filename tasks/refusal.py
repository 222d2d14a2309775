"""Refusals: why a worker leaves work of a run to others, in Redis, for `nonet status`. A hint that soon passes."""

from __future__ import annotations

from collections.abc import Mapping

import redis

from config.queues import refusal_name
from tasks.announcement import as_text, known

LIFE_SECONDS = 60.0
"""How long a refusal stands that is not repeated."""


def tell_refusal(client: redis.Redis, run: str, worker: str, reason: str) -> None:
    """Say why `worker` does not work on `run`; raises redis.RedisError."""
    client.set(refusal_name(run, worker), reason, px=int(LIFE_SECONDS * 1000))


def refusals(client: redis.Redis, run: str) -> Mapping[str, str]:
    """Why workers refused work of `run` lately, by worker; of those that have announced themselves.

    Raises redis.RedisError.
    """
    workers = known(client)
    told = client.mget([refusal_name(run, worker) for worker in workers]) if workers else []
    return {w: as_text(reason) for w, reason in zip(workers, told, strict=True) if reason is not None}
