"""Supervisor of the compute process: starts it with a stack's Python, speaks JSON lines with it, ends it.

Knows the conversation and the process group; not what an order means. The process keeps its base loaded between
orders, dies with this worker (end of its stdin), and can be killed without harm to Celery.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from config.settings import Settings
from nonet.log_line import written_line
from nonet.runs.attempt import ErrorClass
from tasks.port import ComputeError, Event, Mark, Stop, StoppedError
from tasks.progress import describe

PROGRESS_SECONDS = 10.0
"""Between two lines of progress in a log."""
_SECRETS = ("AWS_", "NONET_REDIS_", "NONET_FLOWER_", "NONET_WEBHOOK_")
"""How the names of variables begin that the compute process has no business with."""


class ComputeSupervisor:
    """Executes orders in a compute process, one at a time; the process is kept until another stack is needed."""

    def __init__(self, settings: Settings, draining: Callable[[], bool]) -> None:
        self._settings = settings
        self._draining = draining
        self._process: subprocess.Popen[str] | None = None
        self._stack: str | None = None
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._log: IO[str] | None = None
        self._mark: Mark | None = None
        self._told = float("-inf")
        self._log_lock = threading.Lock()

    def draining(self) -> bool:
        """Whether this worker was asked to stop."""
        return self._draining()

    @property
    def pid(self) -> int | None:
        """Process id of the living compute process."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def execute(
        self,
        order: Mapping[str, Any],
        *,
        stack: str,
        log: Path,
        mark: Mark,
        on_event: Callable[[Event], None],
        poll: Callable[[], Stop | None],
    ) -> Mapping[str, Any]:
        """See tasks.port.Compute.execute."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            self._log_to(file, mark)
            self._write_log(f"{order.get('op')} begins, stack {stack}, {self._settings.device}")
            try:
                process = self._started(stack)
                self._send(process, order)
                return self._follow(process, str(order["id"]), on_event, poll)
            except BaseException as error:
                self._write_log(f"ended: {error or type(error).__name__}")
                if not (isinstance(error, ComputeError) and self._alive()):
                    self.close()
                raise
            finally:
                self._log_to(None)

    def close(self) -> None:
        """Kill the compute process and all it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _follow(
        self,
        process: subprocess.Popen[str],
        order: str,
        on_event: Callable[[Event], None],
        poll: Callable[[], Stop | None],
    ) -> Mapping[str, Any]:
        heard = time.monotonic()
        drain_until: float | None = None
        while True:
            try:
                event = self._events.get(timeout=0.5)
            except queue.Empty:
                event = {}
            now = time.monotonic()
            if event is None:
                death = _death(process)
                self.close()
                raise ComputeError(ErrorClass.WORKER_LOST, death)
            if event:
                heard = now
                result = self._take(event, order, on_event)
                if result is not None:
                    return result
            elif now - heard > self._settings.progress_timeout:
                self.close()
                raise ComputeError(ErrorClass.TIMEOUT, f"no sign of progress for {now - heard:.0f} s; killed")
            if drain_until is None:
                drain_until = self._ask_to_stop(process, order, poll())
            elif now > drain_until:
                raise StoppedError(Stop.DRAIN)

    def _take(self, event: Event, order: str, on_event: Callable[[Event], None]) -> Mapping[str, Any] | None:
        """The result when `event` ends the order well; raises when it ends it otherwise."""
        if event.get("id") != order:
            return None
        match event["event"]:
            case "done":
                result: Mapping[str, Any] = event["result"]
                self._write_log(f"done: {json.dumps(result)}")
                return result
            case "error":
                raise ComputeError(event["error_class"], self._explained(event))
            case "drained":
                raise StoppedError(Stop.DRAIN)
            case kind:
                self._tell(kind, event)
                on_event(event)
                return None

    def _tell(self, kind: str, event: Event) -> None:
        """A line for an event that a person may want to know of; of progress, one in PROGRESS_SECONDS."""
        whose = f"adapter {event['adapter'][:12]}: " if "adapter" in event else ""
        if kind in ("checkpoint", "resumed"):
            self._write_log(f"{whose}{kind} at step {event.get('step')}")
        elif kind == "trained":
            self._write_log(f"{whose}{json.dumps(event['result'])}")
        elif kind == "ballots":
            self._write_log(f"{len(event['ballots'])} ballots of adapter {event['adapter'][:12]}")
        elif kind == "progress" and time.monotonic() - self._told >= PROGRESS_SECONDS:
            self._told = time.monotonic()
            self._write_log(describe(event))

    def _explained(self, event: Event) -> str:
        """What an error says, and, where memory ran out, how much there was and what needs less."""
        error, limit = str(event["error"]), self._settings.memory_limit
        if event["error_class"] != ErrorClass.OUT_OF_MEMORY:
            return error
        allowed = f"NONET_MEMORY_LIMIT allows {limit.human_readable()}, and " if limit is not None else ""
        return f"out of memory: {error}; {allowed}a smaller max_length, batch_size or shard_size needs less"

    def _ask_to_stop(self, process: subprocess.Popen[str], order: str, stop: Stop | None) -> float | None:
        """On drain, ask for a checkpoint and return until when to wait for it; other stops are immediate."""
        if stop is None:
            return None
        if stop is not Stop.DRAIN:
            raise StoppedError(stop)
        self._send(process, {"op": "drain", "id": order})
        return time.monotonic() + self._settings.drain_seconds

    def _started(self, stack: str) -> subprocess.Popen[str]:
        if self._process is not None and self._alive() and self._stack == stack:
            return self._process
        self.close()
        self._events = queue.Queue()
        process = subprocess.Popen(
            [str(self._settings.stack_python(stack)), "-m", "nonet.compute"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(self._settings),
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        _limit_memory(process.pid, self._settings.memory_limit)
        self._process, self._stack = process, stack
        for target, pipe in ((self._read_events, process.stdout), (self._read_log, process.stderr)):
            threading.Thread(target=target, args=(pipe, self._events), daemon=True).start()
        return process

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _send(self, process: subprocess.Popen[str], order: Mapping[str, Any]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(order, ensure_ascii=False) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise ComputeError(ErrorClass.WORKER_LOST, _death(process)) from None

    def _read_events(self, pipe: IO[str], events: queue.Queue[Event | None]) -> None:
        with suppress(ValueError, OSError):
            for line in pipe:
                try:
                    events.put(json.loads(line))
                except json.JSONDecodeError:
                    self._write_log(f"not an event: {line}")
        events.put(None)

    def _read_log(self, pipe: IO[str], _events: queue.Queue[Event | None]) -> None:
        with suppress(ValueError, OSError):
            for line in pipe:
                self._write_log(line)

    def _write_log(self, line: str) -> None:
        with self._log_lock, suppress(OSError, ValueError):
            if self._log is not None and self._mark is not None:
                mark = self._mark
                self._log.write(written_line(mark.run, mark.artifact, line, time.time()))
                self._log.flush()

    def _log_to(self, file: IO[str] | None, mark: Mark | None = None) -> None:
        with self._log_lock:
            self._log, self._mark, self._told = file, mark, float("-inf")


def _limit_memory(pid: int, limit: int | None) -> None:
    """Have allocations of the process `pid` fail beyond `limit` bytes, so that it can say so and live on.

    RLIMIT_DATA, not RLIMIT_AS: address space that is only reserved, as CUDA does by the terabyte, costs nothing.
    """
    if limit is not None:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))


def _environment(settings: Settings) -> dict[str, str]:
    """The worker's environment without its secrets, and with the thread counts that keep results the same."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_SECRETS)}
    threads = str(settings.threads)
    root = str(Path(__file__).resolve().parent.parent)
    environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in (root, environment.get("PYTHONPATH", "")) if p)
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    return environment


def _death(process: subprocess.Popen[str]) -> str:
    """How `process` died, for a person."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    code = process.returncode
    if code is None:
        return "the compute process closed its output and hangs; killed"
    if code < 0:
        return f"the compute process died of {signal.Signals(-code).name}; its last words are in the log"
    return f"the compute process exited with status {code}; its last words are in the log"
