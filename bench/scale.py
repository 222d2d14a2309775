"""How large a run may be: `python -m bench.scale` plans 12 adapters x 10,000 shards, shows and reconciles them.

Real storage, a real redis-server, the real command; the states of the run are 0, 50 and 100 % of its cells done.
The bars are those of docs/performance.md; the exit code is 1 where one is missed.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.ensemble_runs import ROOT
from bench.scale_home import do_part, write_batch
from cli.main import COLLECT_EVERY
from config.batch import load_batch
from config.settings import Settings
from nonet.bases.fingerprint import identify_base
from nonet.runs.plan import Plan
from nonet.stores.storage import Storage
from scheduler.loop import Scheduler
from scheduler.plan import draft
from scheduler.submit import submit
from tasks.app import make_app
from tasks.context import connect
from workers.redis_server import start_redis, write_config

PLANNED, SHOWN, RECONCILED = 5.0, 2.0, 1.0
"""Bars in seconds."""
PARTS = (0.0, 0.5, 1.0)
REPEATS = 5


@dataclass(frozen=True)
class Figure:
    """One measurement: wall and processor seconds of its repeats, and the bar for the median of the wall."""

    name: str
    seconds: tuple[float, ...]
    processor: tuple[float, ...]
    bar: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def met(self) -> bool:
        return self.median < self.bar

    def row(self) -> str:
        figures = (
            f"{self.median:.2f} | {max(self.seconds):.2f} | {statistics.median(self.processor):.2f} | {self.bar:.0f}"
        )
        return f"| {self.name} | {figures} | {'yes' if self.met else 'NO'} |"


def measure(folder: Path, adapters: int, shards: int, repeats: int = REPEATS) -> Iterator[Figure]:
    """The figures of a run of so many adapters and shards, whose home is made under `folder`."""
    batch = write_batch(folder / "batch", adapters, shards)
    settings = Settings(home=str(folder / "home"), redis_url=None)
    storage = Storage(settings.storage_home)
    yield Figure(f"plan {adapters} x {shards}", *_times(lambda: _planned(batch, storage), repeats), PLANNED)
    plan = _planned(batch, storage)
    done = 0.0
    with _redis(storage.home.fleet):
        for part in PARTS:
            do_part(storage, plan, done, part)
            done = part
            yield from _looks(settings, plan, f"{round(100 * part)} % done", repeats)


def _planned(batch: Path, storage: Storage) -> Plan:
    """Everything that `nonet submit` does but counting tokens: rows are read and checked, the run is stored."""
    loaded = load_batch(batch)
    models = [identify_base(base.model, base.revision, batch.parent, base.key) for base in loaded.bases]
    found = draft(loaded, models, "transformers")
    submit(storage, found, loaded.text)
    return found.plan


def _looks(settings: Settings, plan: Plan, name: str, repeats: int) -> Iterator[Figure]:
    environment = os.environ | {"NONET_HOME": settings.home}
    command = [sys.executable, "-m", "cli", "status", plan.run]

    def shown() -> None:
        said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert plan.run in said.stdout, said.stderr

    yield Figure(f"status, {name}", *_times(shown, repeats), SHOWN)
    client = connect(settings.redis())
    client.delete("train", "infer", "cpu")
    with closing(Scheduler(settings, client, make_app(settings.redis()))) as scheduler:
        first, later = _times(scheduler.tick, 1), _times(scheduler.tick, repeats)
    yield Figure(f"first tick, {name}", *first, RECONCILED)
    yield Figure(f"tick, {name}", *later, RECONCILED)


def _times(action: Callable[[], object], repeats: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Wall seconds, and those of the processor, of this process and its children."""
    wall, processor = [], []
    for _ in range(repeats):
        begun, used = time.perf_counter(), _used()
        action()
        wall.append(time.perf_counter() - begun)
        processor.append(_used() - used)
    return tuple(wall), tuple(processor)


def _used() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@contextmanager
def _redis(folder: Path) -> Iterator[None]:
    write_config(folder)
    process = start_redis(folder)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> int:
    """Print the table; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=int, default=12)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    asked = parser.parse_args()
    gc.set_threshold(COLLECT_EVERY)  # as the command does, whose scheduler is looked at in this process
    print(
        "| what | median s | worst s | processor s | bar s | met |\n| --- | --- | --- | --- | --- | --- |", flush=True
    )
    met = True
    with tempfile.TemporaryDirectory(prefix="nonet-scale-") as folder:
        for figure in measure(Path(folder), asked.adapters, asked.shards, asked.repeats):
            print(figure.row(), flush=True)
            met = met and figure.met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
