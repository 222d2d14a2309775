"""Waiting for storage: what has been computed is written again and again until storage takes it, or the worker stops.

Knows the errors of a storage that is full, read-only or away; not what is written. A worker that waits holds its
leases, takes no other work, and so does no harm: that is how a full disk pauses a fleet.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger("nonet.storage")

AWAY = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.ENODEV,
        errno.ENOSPC,
        errno.ENOTCONN,
        errno.EPERM,
        errno.EROFS,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
"""Error numbers that speak of the storage, not of the file: the same write may succeed later."""
PAUSE_SECONDS = 1.0


def is_away(error: BaseException) -> bool:
    """Whether `error` is that of a storage that is full, read-only or cannot be reached."""
    return isinstance(error, OSError) and error.errno in AWAY


def when_stored(action: Callable[[], T], give_up: Callable[[], bool]) -> T:
    """The result of `action`, which is repeated while storage is away; its OSError once `give_up` says so.

    `action` must come to the same when it is repeated after an error half-way.
    """
    told: str | None = None
    while True:
        try:
            result = action()
        except OSError as error:
            if not is_away(error) or give_up():
                raise
            if str(error) != told:
                told = str(error)
                log.error("waiting, storage is not well: %s", error)
            time.sleep(PAUSE_SECONDS)
        else:
            if told is not None:
                log.info("storage is well again")
            return result
