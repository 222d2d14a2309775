"""The Redis transport, hardened: a message that is not Celery's is dropped with a warning instead of ending the worker.

Without this, one line of text pushed to a queue by hand is an unrecoverable error to a Celery worker (kombu 5.7
decodes it inside the event loop), and one with a wrong field keeps it from taking another. Knows kombu's Redis
transport only.
"""

from __future__ import annotations

import logging
import time
from queue import Empty
from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import Transport as RedisTransport

from config.queues import Queue
from tasks.message import flaw

_QUEUES = frozenset(queue.value for queue in Queue)
log = logging.getLogger("nonet.transport")


REFUSED_SECONDS = 1.0
"""Pause before the next connection to a Redis that refuses commands."""
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What comes out of kombu and Celery for a message that is not one of theirs."""


class Channel(RedisChannel):
    """A channel that survives what it cannot read."""

    def _brpop_read(self, **options: Any) -> Any:
        known = set(self.qos._delivered)
        try:
            return super()._brpop_read(**options)
        except redis.ResponseError as error:  # full, read-only, a queue that is no list: Celery connects anew
            log.error("Redis refuses to give work: %s", error)
            time.sleep(REFUSED_SECONDS)
            raise
        except _BROKEN as error:
            self._drop(known, error)
            raise Empty from None

    def _get(self, queue: str) -> Any:
        try:
            return super()._get(queue)
        except _BROKEN as error:
            self._drop(set(self.qos._delivered), error)
            raise Empty from None

    def _drop(self, known: set[Any], error: Exception) -> None:
        """Forget the message that raised `error`: one that stayed delivered would block the next for ever."""
        log.warning("dropped a message that is not one of Celery's: %r", error)
        for tag in set(self.qos._delivered) - known:
            self.basic_reject(tag, requeue=False)


class Transport(RedisTransport):
    """Kombu's Redis transport with the channel above, which takes only messages of Nonet's shape from its queues."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        wrong = flaw(message) if queue in _QUEUES else None
        if wrong is not None:
            raise ValueError(wrong)
        super()._deliver(message, queue)


def harden() -> None:
    """Have redis:// stand for this transport in this process."""
    TRANSPORT_ALIASES["redis"] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["rediss"] = f"{__name__}:Transport"
