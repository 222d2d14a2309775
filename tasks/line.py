"""A line to the queues: one connection of this process for what it sends, given up at the first error.

Knows that Celery's own pools keep producers whose connection has ended half-way, which fail for ever after.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError


class Line:
    """The connection on which one process sends messages or events."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._connection: Any = None

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A kombu connection for the length of a with block; an error in it ends the connection.

        Raises OperationalError or redis.RedisError, whatever it was that went wrong with the connection.
        """
        if self._connection is None:
            self._connection = self._app.connection_for_write()
        try:
            yield self._connection
        except (OperationalError, redis.RedisError):
            self.close()
            raise
        except Exception as error:
            self.close()
            raise OperationalError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """End the connection; the next use makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.release()
