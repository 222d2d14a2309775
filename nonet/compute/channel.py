"""The channel: orders come in as JSON lines, events go out as JSON lines. Knows pipes and threads, no order's meaning.

The pipes are taken away from everything else in the process first: whatever a library prints goes to stderr, and
whatever it reads is empty. The end of the orders means that the worker is gone, and ends the process at once.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Mapping
from typing import Any, TextIO


class Channel:
    """Orders in, events out. `next_order` and `emit` may be called from any thread."""

    def __init__(self, orders: TextIO, events: TextIO) -> None:
        self._orders = orders
        self._events = events
        self._lock = threading.Lock()
        self._waiting: queue.Queue[str] = queue.Queue()
        self._draining: set[str] = set()
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def next_order(self) -> str:
        """The next line that is not a drain; waits for it."""
        return self._waiting.get()

    def emit(self, event: str, order: str | None, **fields: Any) -> None:
        """Send one event; ends the process where nobody listens any more."""
        line = json.dumps({"event": event, "id": order, **fields}, ensure_ascii=False)
        try:
            with self._lock:
                self._events.write(line + "\n")
                self._events.flush()
        except OSError:
            os._exit(1)

    def draining(self, order: str) -> bool:
        """Whether `order` was asked to stop."""
        return order in self._draining

    def _read(self) -> None:
        for line in self._orders:
            if line.strip():
                self._sort(line)
        os._exit(0)

    def _sort(self, line: str) -> None:
        try:
            order = json.loads(line)
        except ValueError:
            order = None
        name = str(order.get("id")) if isinstance(order, Mapping) else ""
        if isinstance(order, Mapping) and order.get("op") == "drain":
            self._draining.add(name)
        else:
            self._draining.discard(name)  # a drain is for the order before it, not for one of the same id after it
            self._waiting.put(line)


def take_pipes() -> Channel:
    """A channel on this process's stdin and stdout, of which the rest of the process sees /dev/null and stderr."""
    orders = os.fdopen(os.dup(0), "r", encoding="utf-8")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Channel(orders, events)
