"""The Redis transport, hardened: a message that is not Celery's is dropped with a warning instead of ending the worker.

Without this, one line of text pushed to a queue by hand is an unrecoverable error to a Celery worker (kombu 5.7
decodes it inside the event loop). Knows kombu's Redis transport only.
"""

from __future__ import annotations

import logging
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import Transport as RedisTransport

log = logging.getLogger("nonet.transport")


class Channel(RedisChannel):
    """A channel that survives what it cannot read."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("dropped a message that is not one of Celery's: %r", error)
            raise Empty from None

    def _get(self, queue: str) -> Any:
        try:
            return super()._get(queue)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("dropped a message that is not one of Celery's from %s: %r", queue, error)
            raise Empty from None


class Transport(RedisTransport):
    """Kombu's Redis transport with the channel above."""

    Channel = Channel


def harden() -> None:
    """Have redis:// stand for this transport in this process."""
    TRANSPORT_ALIASES["redis"] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["rediss"] = f"{__name__}:Transport"
