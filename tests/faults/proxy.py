"""A small TCP proxy that misbehaves on purpose: goes silent, closes after so many bytes, refuses. Knows bytes only."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """A direction through the proxy."""

    UP = "to the server"
    DOWN = "to the client"


@dataclass(frozen=True)
class Cut:
    """Close a connection `after` bytes of a piece of more than `larger` bytes in direction `way`.

    With `answer` that piece passes, and the next one in the other direction is cut instead.
    """

    way: Way
    larger: int
    after: int
    answer: bool = False


class Proxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target`: `with Proxy(6379) as proxy: …`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[_Pair] = []
        self._lock = threading.Lock()
        self._silent = False
        self._refusing = False
        self._cuts: list[Cut] = []
        self.cuts = 0
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def silence_present(self) -> int:
        """Connections of now carry nothing from now on and stay open; new ones work. Returns how many went silent."""
        with self._lock:
            living = [pair for pair in self._pairs if not pair.closed]
            for pair in living:
                pair.silent = True
            return len(living)

    def silence_all(self) -> None:
        """Nothing passes any more, neither on present connections nor on new ones, which are accepted."""
        self.silence_present()
        self._silent = True

    def speak(self) -> None:
        """New connections work again; silent ones are closed, as a router does that has lost their state."""
        self._silent = False
        with self._lock:
            for pair in self._pairs:
                if pair.silent:
                    pair.close()

    def refuse(self) -> None:
        """Nobody is served any more: connections are closed, new ones at once."""
        self._refusing = True
        with self._lock:
            for pair in self._pairs:
                pair.close()

    def serve(self) -> None:
        """New connections are served again."""
        self._refusing = False

    def cut(self, *cuts: Cut) -> None:
        """Make these cuts, one after the other, each at the first piece of bytes that it fits; `cuts` counts them."""
        with self._lock:
            self._cuts.extend(cuts)

    def _passes(self, pair: _Pair, way: Way, size: int) -> int | None:
        """How many of `size` bytes pass before the connection is closed; None when all pass and it stays."""
        with self._lock:
            due = pair.due.pop(way, None)
            if due is None and self._cuts and self._cuts[0].way is way and size > self._cuts[0].larger:
                cut = self._cuts.pop(0)
                if cut.answer:
                    pair.due[Way.DOWN if way is Way.UP else Way.UP] = cut.after
                else:
                    due = cut.after
            if due is not None:
                self.cuts += 1
            return due

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for pair in self._pairs:
                pair.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = _Pair(client, server, self._silent)
            with self._lock:
                self._pairs.append(pair)
            for way in Way:
                threading.Thread(target=self._pump, args=(pair, way), daemon=True).start()

    def _pump(self, pair: _Pair, way: Way) -> None:
        source, sink = (pair.client, pair.server) if way is Way.UP else (pair.server, pair.client)
        with suppress(OSError):
            while data := source.recv(65536):
                if pair.silent:
                    continue  # read and lost: the sender sees a healthy connection
                passes = self._passes(pair, way, len(data))
                sink.sendall(data[:passes])
                if passes is not None:
                    break
        if not pair.silent:
            pair.close()


class _Pair:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket, silent: bool) -> None:
        self.client = client
        self.server = server
        self.silent = silent
        self.closed = False
        self.due: dict[Way, int] = {}

    def close(self) -> None:
        self.closed = True
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
