"""Notifications: a webhook is told once of every end of a run. Knows when, how often and to whom; not what is said.

Sent from a thread, so that no scheduler waits for it. What was told is marked on storage, so that no other scheduler,
and none started again, tells it once more; two at the same moment are kept apart by a mark in Redis. A scheduler that
is killed between the answer and its mark is the one case in which an end is told twice, with the same id.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, Queue
from typing import Any

import redis

import nonet
from config.queues import telling_name
from nonet.stores.storage import Storage
from scheduler.ending import Ending, ending_of, notice_of
from scheduler.state import Phase, RunState

log = logging.getLogger("nonet.notify")
ANSWER_SECONDS = 10.0
"""How long a webhook may take to answer."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds before the second try, doubled up to the longest."""
TOLD_FOR = 24 * 3600.0
"""Ends older than that are not told (any more): a webhook set today says nothing of last month's runs."""


class Notifier:
    """Tells one webhook. `tell` returns at once; `close` waits for nothing."""

    def __init__(self, url: str, storage: Storage, client: redis.Redis) -> None:
        self._url = url
        self._storage = storage
        self._client = client
        self._known: set[str] = set()
        self._due: Queue[tuple[Ending, Mapping[str, Any]]] = Queue()
        self._stop = threading.Event()
        threading.Thread(target=self._send_all, name="notify", daemon=True).start()

    def tell(self, state: RunState) -> None:
        """Have the end of a run told, unless it goes on, or was told. Raises OSError."""
        if state.phase is Phase.RUNNING:
            return
        ending = ending_of(self._storage, state)
        if ending is None or ending.id in self._known:
            return
        if not self._was_told(ending) and time.time() - ending.ended < TOLD_FOR:
            self._due.put((ending, notice_of(self._storage, state, ending)))
        self._known.add(ending.id)

    def close(self) -> None:
        self._stop.set()

    def _send_all(self) -> None:
        waiting: dict[str, tuple[float, float, Ending, Mapping[str, Any]]] = {}
        while not self._stop.is_set():
            with suppress(Empty):
                ending, notice = self._due.get(timeout=0.5)
                waiting[ending.id] = (0.0, FIRST_PAUSE, ending, notice)
            for due, pause, ending, notice in tuple(waiting.values()):
                if time.monotonic() < due or self._stop.is_set():
                    continue
                if self._told(ending, notice):
                    del waiting[ending.id]
                elif time.time() - ending.ended > TOLD_FOR:
                    log.error("run %s: its end could not be told for a day; given up", ending.run)
                    del waiting[ending.id]
                else:
                    again = time.monotonic() + pause
                    waiting[ending.id] = (again, min(LONGEST_PAUSE, 2 * pause), ending, notice)

    def _told(self, ending: Ending, notice: Mapping[str, Any]) -> bool:
        """Tell it now; False where it must be tried again."""
        mine = telling_name(ending.id)
        try:
            if not self._client.set(mine, "1", nx=True, px=int(3 * ANSWER_SECONDS * 1000)):
                return False  # another scheduler is at it
        except redis.RedisError:
            return False
        try:
            if self._was_told(ending):
                return True
            self._post(notice)
            self._storage.store.create(self._storage.home.notice(ending.run, ending.id), json.dumps(notice).encode())
            log.info("run %s: told the webhook: %s", ending.run, notice["event"])
        except (OSError, ValueError) as error:  # urllib's errors are OSErrors
            log.warning("run %s: its end could not be told, trying again: %s", ending.run, _reason(error))
            return False
        finally:
            with suppress(redis.RedisError):
                self._client.delete(mine)
        return True

    def _was_told(self, ending: Ending) -> bool:
        return self._storage.store.exists(self._storage.home.notice(ending.run, ending.id))

    def _post(self, notice: Mapping[str, Any]) -> None:
        """Raises OSError for an answer other than 2xx, or none."""
        request = urllib.request.Request(
            self._url,
            data=json.dumps(notice, ensure_ascii=False).encode(),
            headers={
                "Content-Type": "application/json",
                "User-Agent": f"nonet/{nonet.__version__}",
                "Idempotency-Key": str(notice["id"]),
            },
        )
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
            pass


def _reason(error: Exception) -> str:
    """Why, without the URL, which is a secret to many services."""
    if isinstance(error, urllib.error.HTTPError):
        return f"it answers {error.code}"
    reason = getattr(error, "reason", None)
    return str(reason) if reason is not None else type(error).__name__
