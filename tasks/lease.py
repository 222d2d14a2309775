"""Leases: at most one live holder for each artifact key, in Redis. Knows nothing of storage, which is the truth.

A lease saves work; it does not guard the result: exclusive commits and epochs do (nonet.storage, nonet.runs.attempt).
So a holder that cannot reach Redis goes on working, and takes its lease up again when Redis is back.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from contextlib import suppress

import redis

from config.queues import lease_name
from tasks.port import Stop

EXPIRED = "its worker is gone: the lease ran out before the work was done"
"""What the scheduler writes of an attempt whose lease ran out."""
TAKEN_OVER = "its lease was free and another worker took the work over"
"""What the next holder writes of an attempt that an earlier one left open."""
LEASE_LOSSES = frozenset((EXPIRED, TAKEN_OVER, Stop.LEASE_LOST.value))
"""How attempts say that they lost their lease (the last: written by the holder itself)."""
_RENEW = """
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1 end
if not holder then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1 end
return 0
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Leases:
    """The leases of one holder, renewed by a thread of its own until they are released."""

    def __init__(self, client: redis.Redis, seconds: float) -> None:
        self._client = client
        self._milliseconds = int(seconds * 1000)
        self._token = uuid.uuid4().hex
        self._held: set[str] = set()
        self._lost: set[str] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, key: str) -> bool:
        """Take the lease on `key`; False when another holder has it. Raises redis.RedisError.

        By the script that renews it: a command that is sent again because its answer was lost finds its own token.
        """
        if not self._client.eval(_RENEW, 1, lease_name(key), self._token, self._milliseconds):
            return False
        with self._lock:
            self._held.add(key)
        if self._thread is None:
            self._thread = threading.Thread(target=self._renew_all, name="leases", daemon=True)
            self._thread.start()
        return True

    def lost(self, key: str) -> bool:
        """Whether another holder has taken the lease on `key` over."""
        return key in self._lost

    def release(self, keys: Iterable[str]) -> None:
        """Give leases back; one that cannot be given back expires."""
        for key in keys:
            with self._lock, suppress(redis.RedisError):
                self._held.discard(key)
                self._client.eval(_RELEASE, 1, lease_name(key), self._token)

    def close(self) -> None:
        """Release everything and stop renewing."""
        self.release(tuple(self._held))
        self._wake.set()

    def _renew_all(self) -> None:
        while not self._wake.wait(self._milliseconds / 3000):
            for key in tuple(self._held):
                with suppress(redis.RedisError):
                    self._renew(key)

    def _renew(self, key: str) -> None:
        with self._lock:  # a lease released meanwhile must not come back
            if key not in self._held:
                return
            if not self._client.eval(_RENEW, 1, lease_name(key), self._token, self._milliseconds):
                self._held.discard(key)
                self._lost.add(key)
