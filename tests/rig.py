"""A fleet under test: real redis-server, scheduler and workers, as processes that a test may kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Self

import psutil
import redis

from config.settings import Settings
from nonet.parent import die_with_parent
from nonet.runs.attempt import Attempt, Attempts
from nonet.runs.plan import ADAPTERS, Plan, plan_from_json
from nonet.stores.storage import Storage
from scheduler.inflight import RedisInFlight
from scheduler.state import Phase, RunState, StateReader, UnitStatus
from workers.redis_server import start_redis, write_config

ROOT = Path(__file__).resolve().parent.parent
STACKS = Path(os.environ.get("NONET_STACKS", ROOT / ".stacks"))
LEASE_SECONDS = 4.0


class Rig:
    """One home with its own Redis; processes by name: `redis`, `scheduler`, `cpu`, and workers `w0`, `w1`, …"""

    def __init__(self, root: Path, **settings: str) -> None:
        self.home = root / "home"
        self.environment = {
            "NONET_HOME": str(self.home),
            "NONET_STACKS": str(STACKS),
            "NONET_LEASE_SECONDS": str(LEASE_SECONDS),
            "NONET_TICK_SECONDS": "0.5",
            "NONET_DRAIN_SECONDS": "20",
        } | settings
        self.settings = Settings(
            home=self.home, stacks=STACKS, lease_seconds=LEASE_SECONDS, tick_seconds=0.5, drain_seconds=20
        )
        self.storage = Storage(self.settings.storage_home)
        self.attempts = Attempts(self.settings.storage_home)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.logs = root / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def fleet(self) -> Path:
        return self.storage.home.fleet

    @cached_property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url((self.fleet / "redis.url").read_text().strip())

    def start(self, *names: str) -> None:
        """Start the named processes; Redis is waited for."""
        for name in names:
            if name == "redis":
                write_config(self.fleet)
                self.processes[name] = start_redis(self.fleet)
            elif name == "scheduler":
                self._spawn(name, "scheduler")
            else:
                queues = "cpu" if name == "cpu" else "train,infer"
                self._spawn(name, "worker", "--name", name, "--queues", queues)

    def start_all(self, workers: int = 1) -> None:
        self.start("redis", "scheduler", "cpu", *(f"w{i}" for i in range(workers)))

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to one process (not to its children); a killed one is reaped."""
        process = self.processes[name]
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait(30)
            del self.processes[name]

    def compute_processes(self) -> list[psutil.Process]:
        """Compute processes of this rig, by their command line and home."""
        found = []
        for process in psutil.process_iter():
            try:
                if _computes(process) and process.environ().get("NONET_HOME") == self.environment["NONET_HOME"]:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def family(self, name: str, *, compute: bool = True) -> list[psutil.Process]:
        """A process with all below it; compute processes last, or left out."""
        family = self._family_of(name)
        computing = [p for p in family if _computes(p)]
        return [p for p in family if p not in computing] + (computing if compute else [])

    def orphans(self) -> list[psutil.Process]:
        """Compute processes whose worker is gone."""
        living = {p.pid for name in list(self.processes) for p in self._family_of(name)}
        return [p for p in self.compute_processes() if p.is_running() and p.pid not in living]

    def _family_of(self, name: str) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.processes[name].pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def log_of(self, name: str) -> str:
        path = self.logs / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def nonet(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the `nonet` command as a user would."""
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            cwd=ROOT,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"nonet {' '.join(arguments)} → {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def submit(self, batch: Path) -> Plan:
        """Submit a batch file; returns the plan of its run."""
        before = set(self.storage.plans())
        self.nonet("submit", str(batch))
        (path,) = set(self.storage.plans()) - before
        return plan_from_json(self.storage.store.read(path))

    def state(self, plan: Plan) -> RunState:
        in_flight = RedisInFlight(self.client, LEASE_SECONDS)
        return StateReader(self.storage, self.attempts, in_flight, self.settings.failure_limit).read(plan)

    def wait(
        self, what: Callable[[], bool], seconds: float = 400.0, why: str = "condition", *, pause: float = 0.05
    ) -> float:
        """Wait until `what()` holds; returns the seconds it took, raises AssertionError with the logs otherwise."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            if what():
                return time.monotonic() - begun
            time.sleep(pause)
        raise AssertionError(f"{why} did not come about in {seconds} s\n{self.tails()}")

    def wait_for_phase(self, plan: Plan, phase: Phase, seconds: float = 800.0) -> float:
        return self.wait(lambda: self.phase(plan) is phase, seconds, f"run {plan.run} {phase}", pause=0.3)

    def wait_for_step(self, plan: Plan, adapter: int, step: int, seconds: float = 400.0) -> None:
        """Wait until the training of an adapter has reported `step`."""
        path = self.storage.home.progress(plan.adapters[adapter].key)
        self.wait(lambda: (_number(path, "step") or 0) >= step, seconds, f"step {step} of adapter {adapter}")

    def submission(self, plan: Plan) -> bytes:
        return self.storage.store.read(self.storage.home.submission(plan.run, plan.submission))

    def adapter_digests(self, plan: Plan) -> dict[str, str]:
        """For each adapter, the SHA-256 of each of its files, as one text: weights, configuration, losses."""
        digests = {}
        for adapter in plan.adapters:
            commit = self.storage.read(ADAPTERS, adapter.key)
            assert commit is not None, adapter.name
            digests[adapter.name] = " ".join(f"{name}={file.sha256}" for name, file in sorted(commit.files.items()))
        return digests

    def executions(self, plan: Plan) -> dict[str, tuple[Attempt, ...]]:
        """Attempts by the name of their unit."""
        units: list[UnitStatus] = list(self.state(plan).units)
        return {u.name: self.attempts.history(u.key) for u in units}

    def outcomes(self, plan: Plan) -> Counter[str]:
        return Counter(str(a.outcome) for history in self.executions(plan).values() for a in history)

    def tails(self, lines: int = 15) -> str:
        parts = []
        for path in sorted([*self.logs.glob("*.log"), *self.home.glob("logs/*/*.log")]):
            parts.append(f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:]))
        return "\n".join(parts)[-8000:]

    def close(self) -> None:
        """End every process; nothing of this rig may be left running."""
        for name, process in reversed(list(self.processes.items())):
            _kill_tree(process.pid)
            process.wait(30)
            del self.processes[name]
        for computing in self.compute_processes():
            computing.kill()
        if "client" in self.__dict__:
            self.client.close()
            del self.client

    def remove(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    def phase(self, plan: Plan) -> Phase | None:
        try:
            return self.state(plan).phase
        except redis.RedisError:
            return None

    def _spawn(self, name: str, *arguments: str) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "cli", *arguments],
                cwd=ROOT,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # also when the tests are killed
            )


def _computes(process: psutil.Process) -> bool:
    try:
        return "nonet.compute" in process.cmdline()
    except psutil.Error:  # it has ended meanwhile
        return False


def _kill_tree(pid: int) -> None:
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def _number(path: Path, name: str) -> float | None:
    try:
        value = json.loads(path.read_bytes()).get(name)
    except (OSError, ValueError):
        return None
    return float(value) if value is not None else None
