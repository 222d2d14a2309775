"""What the queue costs: `python -m bench.overhead` answers the same shards with the engine alone and with the fleet.

Both sides have the same base, adapters, shards and a warm compute process of the same stack. The engine alone gets one
order after the other and its ballots are thrown away. The fleet is a real redis-server, scheduler and worker: its time
runs from the submit to the last commit, with Redis, leases, attempts, storage and the scheduler. The sides take turns;
each turn asks other rows (the same questions under other ids), so that nothing is reused.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.ensemble_runs import ROOT
from config.batch import load_batch
from config.settings import Settings
from nonet.bases.fingerprint import identify_base
from nonet.questions.problem import Problem, Question
from nonet.questions.rows import dumps, problem_row, read_problems
from nonet.runs.attempt import Attempts
from nonet.runs.plan import ADAPTERS, Plan
from nonet.runs.plans import Plans
from nonet.stores.storage import Storage
from scheduler.plan import draft
from scheduler.submit import submit
from tasks.app import make_app
from tasks.context import TaskContext, connect
from tasks.infer import _order, _stack
from tasks.line import Line
from tasks.port import Event, Mark
from tasks.wake import wake
from workers.compute import ComputeSupervisor
from workers.redis_server import start_redis, write_config

BAR = 0.03
"""Most of the fleet's time without an order. The ratio says the same on an idle machine, and nothing on another."""
DEMO = ROOT / "data" / "demo"
_BATCH = """\
name: overhead
base: {{model: {base}, revision: null}}
sources: {{official: {{path: {data}/official.jsonl, labels: gold}}}}
mixes:
{mixes}
training: {{rank: 8, max_length: 512, epochs: 1, batch_size: 8, checkpoint_every: 1000}}
inference: {{test: {test}, shard_size: {size}}}
vote: {{method: majority, select: all}}
"""


@dataclass(frozen=True)
class Turn:
    """Seconds that the same shards took the engine alone and the fleet; of the fleet's, `idle` ones in which its
    compute process had no order: whatever else keeps the machine busy slows both sides, but not these.
    """

    engine: float
    fleet: float
    idle: float
    shards: int

    @property
    def ratio(self) -> float:
        return self.fleet / self.engine


class Bench:
    """A home with one worker, and a compute process beside it that only this bench uses."""

    def __init__(self, folder: Path, settings: Settings, base: Path, adapters: int, shards: int, problems: int) -> None:
        self.folder, self.settings, self.base = folder, settings, base
        self.adapters, self.shards, self.size = adapters, shards, problems
        home = settings.storage_home
        self.storage, self.attempts = Storage(home), Attempts(home)
        self.supervisor = ComputeSupervisor(settings, lambda: False)
        app, self.client = make_app(settings.redis()), connect(settings.redis())
        line, plans = Line(app), Plans(home.store)
        self.context = TaskContext(
            settings, home, self.storage, self.attempts, self.client, self.supervisor, "bench", line, None, plans
        )

    def submitted(self, turn: int) -> tuple[Plan, float]:
        """A run over rows of its own, and when it was submitted."""
        test = self.folder / f"test-{turn}.jsonl"
        test.write_bytes(dumps(problem_row(p, {}) for p in _problems(turn, self.shards * self.size)))
        mixes = "\n".join(f"  m{at}: {{use: [official], sample: 0.2, seed: {at}}}" for at in range(self.adapters))
        path = self.folder / f"batch-{turn}.yaml"
        path.write_text(_BATCH.format(base=self.base, data=DEMO, mixes=mixes, test=test, size=self.size))
        loaded = load_batch(path)
        models = [identify_base(base.model, base.revision, self.folder, base.key) for base in loaded.bases]
        found = draft(loaded, models, self.settings.engine)
        begun = time.time()
        submit(self.storage, found, loaded.text)
        wake(self.client)
        return found.plan, begun

    def fleet(self, turn: int) -> tuple[Plan, float, float]:
        """Seconds from the submit to the last commit of ballots, and without an order; raises TimeoutError."""
        plan, begun = self.submitted(turn)
        end = time.monotonic() + 3600
        while not all(self.storage.has(cell.scope, cell.key) for cell in plan.cells):
            if time.monotonic() > end:
                raise TimeoutError(f"{plan.run} is not answered after an hour")
            time.sleep(0.25)
        time.sleep(1.0)  # the vote, and the outcome of the last attempt
        attempts = [attempt for cell in plan.cells for attempt in self.attempts.history(cell.key)]
        whole = max(attempt.ended or 0.0 for attempt in attempts) - begun
        said = "".join((self.storage.home.root / log).read_text("utf-8") for log in {a.log for a in attempts})
        told = [float(seconds) for seconds in re.findall(r'done: \{"seconds": ([0-9.]+)', said)]
        assert len(told) >= len(plan.shards), said
        return plan, whole, whole - sum(told)

    def engine(self, plan: Plan) -> float:
        """Seconds of the same orders in the compute process of this bench, one after the other."""
        commits = {a.key: self.storage.read(ADAPTERS, a.key) for a in plan.adapters}
        folders = {
            key: str(self.storage.path(commit.files["adapter_config.json"]).parent)
            for key, commit in commits.items()
            if commit is not None
        }
        (base,) = plan.bases
        rows = self.storage.input_path(plan.inputs["test"])
        begun = time.monotonic()
        for shard in plan.shards:
            cast: list[Event] = []
            self.supervisor.execute(
                _order(self.context, plan, base, shard, rows, folders),
                stack=_stack(self.context, base),
                log=self.folder / "engine.log",
                mark=Mark(plan.run, shard.name),
                on_event=cast.append,
                poll=lambda: None,
            )
            assert sum(event["event"] == "ballots" for event in cast) == self.adapters
        return time.monotonic() - begun

    def turns(self, count: int) -> Iterator[Turn]:
        """The first turn trains the adapters and warms both sides; it is not told."""
        for turn in range(count + 1):
            plan, fleet, idle = self.fleet(turn)
            engine = self.engine(plan)
            if turn:
                yield Turn(engine, fleet, idle, len(plan.shards))

    def close(self) -> None:
        self.supervisor.close()
        self.context.line.close()
        self.client.close()


def _problems(turn: int, count: int) -> Iterator[Problem]:
    """So many problems of the demo's test, over and over, under ids of their own."""
    found, _ = read_problems(DEMO / "test.jsonl", labelled=False)
    for at in range(count):
        name, problem = f"turn{turn}-{at}", found[at % len(found)]
        questions = tuple(Question(name, q.index, q.text, q.options) for q in problem.questions)
        yield Problem(name, problem.stem, questions)


@contextmanager
def fleet(settings: Settings, logs: Path) -> Iterator[None]:
    """Redis, a scheduler, one worker for trainings and answers and one for votes."""
    folder = settings.storage_home.fleet
    write_config(folder)
    environment = os.environ | {"NONET_HOME": settings.home, "NONET_STACKS": str(settings.stacks)}
    commands = (
        ["scheduler"],
        ["worker", "--name", "gpu0", "--queues", "train,infer"],
        ["worker", "--name", "cpu", "--queues", "cpu"],
    )
    processes: list[subprocess.Popen[bytes]] = [start_redis(folder)]
    try:
        with (logs / "fleet.log").open("ab") as log:
            for command in commands:
                whole = [sys.executable, "-m", "cli", *command]
                processes.append(subprocess.Popen(whole, cwd=ROOT, env=environment, stdout=log, stderr=log))
        yield
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def table(turns: Sequence[Turn]) -> Iterator[str]:
    """Medians first, then every turn."""
    yield "| | fleet / engine | engine alone, s | fleet, s | s a shard | no order, ms a shard | of the fleet's time |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    engine, fleet, idle = (statistics.median(times) for times in zip(*map(_times, turns), strict=True))
    yield _row("median", statistics.median(t.ratio for t in turns), Turn(engine, fleet, idle, turns[0].shards))
    yield from (_row(f"turn {at}", turn.ratio, turn) for at, turn in enumerate(turns, 1))


def _times(turn: Turn) -> tuple[float, float, float]:
    return turn.engine, turn.fleet, turn.idle


def _row(name: str, ratio: float, turn: Turn) -> str:
    figures = f"{turn.engine:.2f} | {turn.fleet:.2f} | {turn.engine / turn.shards:.2f}"
    return f"| {name} | {ratio:.3f} | {figures} | {1000 * turn.idle / turn.shards:.0f} | {turn.idle / turn.fleet:.1%} |"


def main() -> int:
    """Print the table; 1 where the median share of time without an order is above the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=ROOT / "models" / "demo-base")
    parser.add_argument("--adapters", type=int, default=3)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--problems", type=int, default=160, help="problems a shard")
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nonet-overhead-") as name:
        folder = Path(name)
        settings = Settings(home=str(folder / "home"), redis_url=None)
        settings.stack_python(settings.transformers_stack)  # raises NoStackError
        with fleet(settings, folder):
            bench = Bench(folder, settings, asked.base.resolve(), asked.adapters, asked.shards, asked.problems)
            try:
                turns = []
                for turn in bench.turns(asked.turns):
                    turns.append(turn)
                    print(f"turn {len(turns)}: {turn}", file=sys.stderr, flush=True)
            finally:
                bench.close()
    print("\n".join(table(turns)))
    return 0 if statistics.median(turn.idle / turn.fleet for turn in turns) <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
