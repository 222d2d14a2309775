"""Faults of the soak, by name: each does its harm to a rig in the middle of a run, and says what it explains.

A fault that finds nothing to harm returns None.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from config.queues import INFER_TASK, TRAIN_TASK
from nonet.runs.plan import ADAPTERS, Cell, Plan
from tasks.app import make_app
from tests.faults.paced import PacedRig, World
from tests.faults.proxy import Proxy
from tests.rig import LEASE_SECONDS, ROOT

DYING = Path(__file__).parent / "dying"
PUBLISHING = (
    "link|before|/commits/adapters/",
    "link|after|/commits/adapters/",
    "link|before|/commits/ballots-",
    "link|after|/commits/ballots-",
    "link|before|.end.json",
)
VOTING = (
    "replace|before|/submission.jsonl",
    "replace|before|/submission.jsonl.manifest.json",
    "link|before|/commits/votes/",
    "link|after|/commits/votes/",
)


@dataclass
class Explained:
    """Executions beyond one a unit that faults explain, and keys whose commits they took away without a trace."""

    executions: int = 0
    deleted: set[str] = field(default_factory=set)

    def add(self, other: Explained) -> None:
        self.executions += other.executions
        self.deleted |= other.deleted


class Injector:
    """Does harm to one rig, as its dice fall."""

    def __init__(self, rig: PacedRig, proxy: Proxy, plan: Plan, dice: random.Random, workers: tuple[str, ...]) -> None:
        self.rig = rig
        self.plan = plan
        self._proxy = proxy
        self._dice = dice
        self._workers = workers
        self._armed = 0

    def kill_compute(self) -> Explained | None:
        """Row 1."""
        worker = self._worker()
        others = self.rig.family(worker, compute=False)
        computing = [p for p in self.rig.family(worker) if p not in others]
        _each(computing, psutil.Process.suspend)
        explained = Explained(max(1, self._open(worker)))
        _each(computing, psutil.Process.kill)
        return explained if computing else None

    def kill_worker(self) -> Explained:
        """Row 2."""
        worker = self._worker()
        self._kill_group(worker)
        explained = Explained(self._open(worker))
        self.rig.start(worker)
        return explained

    def freeze_worker(self) -> Explained:
        """Row 3: with its compute process, past its lease."""
        worker = self._worker()
        family = self.rig.family(worker)
        _each(family, psutil.Process.suspend)
        explained = Explained(self._open(worker))
        time.sleep(LEASE_SECONDS * 1.5)
        _each(family, psutil.Process.resume)
        return explained

    def drain_worker(self) -> Explained:
        """Row 4."""
        worker = self._worker()
        explained = Explained(self._open(worker) + 1)
        self.rig.kill(worker, signal.SIGTERM)
        self.rig.processes.pop(worker).wait(self.rig.settings.drain_seconds + 10)
        self.rig.start(worker)
        return explained

    def kill_publishing(self) -> Explained:
        """Row 5: a worker that will die at one of the steps of its next publish."""
        worker = self._worker()
        self._kill_group(worker)
        explained = Explained(self._open(worker) + len(self.plan.adapters))
        self._start_dying(worker, self._dice.choice(PUBLISHING))
        return explained

    def kill_redis(self) -> Explained:
        """Row 6."""
        self.rig.kill("redis")
        self.rig.start("redis")
        return Explained()

    def empty_redis(self) -> Explained:
        """Row 7."""
        self.rig.client.flushall()
        return Explained()

    def freeze_redis(self) -> Explained:
        """Row 8: for longer than a lease."""
        redis = psutil.Process(self.rig.processes["redis"].pid)
        redis.suspend()
        time.sleep(LEASE_SECONDS * 1.3)
        redis.resume()
        return Explained()

    def silence_connections(self) -> Explained:
        """Row 9."""
        self._proxy.silence_present()
        return Explained()

    def repeat_delivery(self) -> Explained | None:
        """Row 12."""
        trained = self.rig.storage.committed(ADAPTERS)
        cells = [c for c in self._uncommitted() if c.adapter.key in trained]
        trainings = [a.key for a in self.plan.adapters if a.key not in trained]
        if not cells and not trainings:
            return None
        app = make_app(self.rig.url)
        for _ in range(5):
            if trainings:
                app.send_task(TRAIN_TASK, kwargs={"run": self.plan.run, "keys": trainings[:1]})
            else:
                kwargs = {"run": self.plan.run, "shard": cells[0].shard.name, "keys": [cells[0].key]}
                app.send_task(INFER_TASK, kwargs=kwargs)
        app.close()
        return Explained()

    def damage_result(self) -> Explained | None:
        """Row 16: of what will be read again, while it will be: the vote is not near."""
        storage, missing = self.rig.storage, self._uncommitted()
        begun = self.rig.storage.home.all_attempts
        untouched = [c for c in missing if not (begun / c.key).exists()]
        trained = storage.committed(ADAPTERS)
        adapters = sorted({c.adapter.key for c in untouched if c.adapter.key in trained})
        answered = [c for c in self.plan.cells if c.key in storage.committed(c.scope)]
        if adapters and self._dice.random() < 0.5:
            key = self._dice.choice(adapters)
            commit = storage.read(ADAPTERS, key)
            if commit is None:
                return None
            self._damage(storage.path(commit.files["adapter_model.safetensors"]))
            return Explained(1 + sum(c.adapter.key == key for c in missing))
        if answered and missing:
            cell = self._dice.choice(answered)
            gone = self._damage(storage.home.commits(cell.scope) / f"{cell.key}.json")
            return Explained(2, {cell.key} if gone else set())
        return None

    def kill_scheduler(self) -> Explained:
        """Row 17: and two of them for the rest of the run."""
        self.rig.kill("scheduler")
        self.rig.start("scheduler", *([] if "scheduler-2" in self.rig.processes else ["scheduler-2"]))
        return Explained()

    def kill_aggregation(self) -> Explained:
        """Row 18: the vote's worker will die at one of the steps of the vote."""
        self._kill_group("cpu")
        self._start_dying("cpu", self._dice.choice(VOTING))
        return Explained(2)

    def _worker(self) -> str:
        """One of the workers, rather one that works."""
        busy = sorted({worker.partition("@")[0] for worker in self.rig.open_attempts(self.plan).values()})
        return self._dice.choice(busy or list(self._workers))

    def _open(self, worker: str) -> int:
        return sum(w.startswith(f"{worker}@") for w in self.rig.open_attempts(self.plan).values())

    def _uncommitted(self) -> list[Cell]:
        done = {a.key: self.rig.storage.committed(f"ballots-{a.key}") for a in self.plan.adapters}
        return [c for c in self.plan.cells if c.key not in done[c.adapter.key]]

    def _kill_group(self, name: str) -> None:
        process = self.rig.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)

    def _start_dying(self, name: str, place: str) -> None:
        """Start a worker that is killed at `place`, once; started again, it is an ordinary one."""
        self._armed += 1
        mark = self.rig.home.parent / f"died-{self._armed}"
        usual = self.rig.worlds.get(name, World())
        path = f"{DYING}{os.pathsep}{ROOT}"
        dying = {"NONET_TEST_DIE": f"{place}|{mark}", "PYTHONPATH": path}
        self.rig.worlds[name] = World({**usual.environment, **dying})
        self.rig.start(name)
        self.rig.worlds[name] = usual

    def _damage(self, path: Path) -> bool:
        """Flip a bit, cut the end off, or delete; True when nothing is left."""
        data = bytearray(path.read_bytes())
        way = self._dice.choice(("flip", "truncate", "delete"))
        if way == "delete":
            path.unlink()
        elif way == "truncate":
            path.write_bytes(data[:-7])
        else:
            data[self._dice.randrange(len(data))] ^= 0x10
            path.write_bytes(data)
        return way == "delete"


def _each(processes: Iterable[psutil.Process], action: Callable[[psutil.Process], None]) -> None:
    """Do it to each that has not ended meanwhile."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            action(process)


KINDS: Mapping[str, Callable[[Injector], Explained | None]] = {
    "compute killed": Injector.kill_compute,
    "worker killed": Injector.kill_worker,
    "worker frozen": Injector.freeze_worker,
    "worker drained": Injector.drain_worker,
    "killed publishing": Injector.kill_publishing,
    "redis killed": Injector.kill_redis,
    "redis emptied": Injector.empty_redis,
    "redis frozen": Injector.freeze_redis,
    "connections silent": Injector.silence_connections,
    "delivered five times": Injector.repeat_delivery,
    "result damaged": Injector.damage_result,
    "scheduler killed": Injector.kill_scheduler,
    "aggregation killed": Injector.kill_aggregation,
}
