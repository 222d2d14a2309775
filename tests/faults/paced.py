"""A rig whose compute processes are paced (paced_compute.py) and each of whose processes may live in its own world."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from nonet.parent import die_with_parent
from nonet.runs.attempt import Outcome
from nonet.runs.plan import Plan
from scheduler.state import Phase
from tests.faults.proxy import Proxy
from tests.rig import ROOT, Rig
from tests.small_batch import write_batch
from workers.redis_server import write_config

NO_MOUNT = "\nthis test must mount a file system: run it as root, as CI does, on a kernel that allows it"


@dataclass(frozen=True)
class World:
    """Where one process of the rig lives: what its environment has more, what its command begins with, its code."""

    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    code: Path = ROOT


class PacedRig(Rig):
    """Processes by name: `redis`, `scheduler…`, `cpu`, workers `w…`, and workers `all…` that take every queue."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.pace = root / "pace"
        self.pace.mkdir(parents=True)
        self._redis = root / "redis"
        self.url = write_config(self._redis)
        super().__init__(root, NONET_PACE=str(self.pace), NONET_REDIS_URL=self.url, **settings)
        stacks = _stack(root / "stacks")
        self.environment["NONET_STACKS"] = str(stacks)
        self.settings = self.settings.model_copy(update={"redis_url": SecretStr(self.url), "stacks": stacks})
        self.worlds: dict[str, World] = {}

    @property
    def fleet(self) -> Path:
        return self._redis

    @property
    def port(self) -> int:
        """Redis's port."""
        return int(self.url.rsplit(":", 1)[1].split("/")[0])

    def start(self, *names: str) -> None:
        for name in names:
            if name.startswith("scheduler"):
                self._spawn(name, "scheduler")
            elif name.startswith("all"):
                self._spawn(name, "worker", "--name", name, "--queues", "train,infer,cpu")
            else:
                super().start(name)

    def through(self, proxy: Proxy, **environment: str) -> World:
        """The world of a process that reaches Redis through `proxy` only."""
        url = self.url.replace(f":{self.port}/", f":{proxy.port}/")
        return World({"NONET_REDIS_URL": url, **environment})

    @contextmanager
    def held(self, phase: str) -> Iterator[None]:
        """Hold every compute process in `phase` for the length of a with block."""
        gate = self.pace / f"{phase}.hold"
        gate.touch()
        try:
            yield
        finally:
            gate.unlink(missing_ok=True)

    def wait_for_work(self, plan: Plan, units: int = 1, seconds: float = 300.0) -> None:
        """Wait until as many attempts are open."""
        self.wait(lambda: len(self.open_attempts(plan)) >= units, seconds, f"{units} units in work")

    def open_attempts(self, plan: Plan) -> dict[str, str]:
        """Units in work: key → worker."""
        keys = [*(a.key for a in plan.adapters), *(c.key for c in plan.cells)]
        last = {key: history[-1] for key in keys if (history := self.attempts.history(key))}
        return {key: a.worker for key, a in last.items() if a.outcome is None}

    def committers(self, plan: Plan) -> dict[str, set[str]]:
        """For every unit, the workers whose attempt at it committed."""
        keys = [*(a.key for a in plan.adapters), *(c.key for c in plan.cells)]
        histories = {key: self.attempts.history(key) for key in keys}
        return {k: {a.worker for a in h if a.outcome is Outcome.COMMITTED} for k, h in histories.items()}

    def inside(self, name: str, *command: str) -> None:
        """Run a command among the mounts of the process `name`; raises AssertionError where that is not permitted."""
        pid = self.processes[name].pid
        done = subprocess.run(["nsenter", "--mount", f"--target={pid}", *command], capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{NO_MOUNT}"

    def wait_for_log(self, name: str, pattern: str, seconds: float = 300.0) -> None:
        self.wait(lambda: bool(re.search(pattern, self.log_of(name))), seconds, f"{pattern!r} in {name}.log")

    def finish(self, plan: Plan, seconds: float = 400.0) -> None:
        self.wait_for_phase(plan, Phase.COMPLETE, seconds)

    def _spawn(self, name: str, *arguments: str) -> None:
        world = self.worlds.get(name, World())
        environment = {**os.environ, **self.environment, "PYTHONPATH": str(world.code), **world.environment}
        with (self.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*world.prefix, sys.executable, "-m", "cli", *arguments],
                cwd=world.code,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # also when the tests are killed
            )


@dataclass(frozen=True)
class Reference:
    """The paced run to which nothing happened."""

    batch: Path
    home: Path
    submission: bytes
    adapters: dict[str, str]


def undisturbed_paced(root: Path, **settings: str) -> Reference:
    """The small batch, run once with paced compute processes."""
    batch = write_batch(root / "batch")
    with PacedRig(root, **settings) as rig:
        rig.start("redis", "scheduler", "all0")
        plan = rig.submit(batch)
        rig.finish(plan)
        return Reference(batch, rig.home, rig.submission(plan), rig.adapter_digests(plan))


def _stack(folder: Path) -> Path:
    """A folder of stacks with one stack, `cpu`, whose Python starts the paced compute process."""
    python = folder / "cpu" / "bin" / "python"
    python.parent.mkdir(parents=True)
    script = ROOT / "tests" / "faults" / "paced_compute.py"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return folder
