"""The whole system on a GPU, as a user runs it: `make gpu-check`, or `python -m tests.gpu.check --help`.

Starts `nonet up` with one worker, queues a batch, kills the compute process with SIGKILL in the middle of the first
training, waits for the submission, and prints what it cost: memory, seconds a step and a shard, warm-up, time lost to
the kill. Asserts that the training resumed and that the submission is complete. Runs on a CPU too (`--device cpu`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from nonet.runs.attempt import Attempts, Outcome
from nonet.runs.plan import ADAPTERS, Plan, plan_from_json
from nonet.stores.home import Home
from nonet.stores.storage import Storage
from tests.gpu.long_rows import write_long_batch
from workers.redis_server import free_port

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "config" / "batches" / "demo.yaml"


@dataclass
class Seen:
    """What was seen while the run went on: the most GPU memory (MiB) by phase, times of first progress, the kill."""

    memory: dict[str, int] = field(default_factory=dict)
    first_step: dict[str, float] = field(default_factory=dict)
    killed_at: float | None = None
    killed_step: int = 0
    passed_again: float | None = None


def main() -> None:
    arguments = _arguments()
    home = arguments.home.resolve()
    environment = os.environ | {
        "NONET_HOME": str(home),
        "NONET_DEVICE": arguments.device,
        "NONET_TRAIN_STACK": arguments.train_stack,
        "NONET_VLLM_STACK": arguments.vllm_stack,
        "NONET_TRANSFORMERS_STACK": arguments.train_stack,
        "NONET_ENGINE": arguments.engine,
        "NONET_FLOWER_PORT": str(free_port()),
    }
    batch = arguments.batch
    if arguments.base:
        batch = write_long_batch(
            home.parent / "batch", arguments.base.resolve(), arguments.problems, arguments.adapters
        )
    begun = time.monotonic()
    with _fleet(environment):
        up = time.monotonic() - begun
        submitted = time.monotonic()
        _nonet(environment, "submit", str(batch))
        submitting = time.monotonic() - submitted
        (folder,) = (home / "runs").iterdir()
        plan = plan_from_json((folder / "plan.json").read_bytes())
        seen = _follow(home, plan, arguments.seconds)
        took = time.monotonic() - submitted
        flower = _flower_metrics(environment["NONET_FLOWER_PORT"])
    figures = _figures(home, plan, seen) | {
        "fleet up, s": round(up, 1),
        "submit, s": round(submitting, 1),
        "run in all, s": round(took, 1),
        "flower metrics": flower,
    }
    for name, value in figures.items():
        print(f"{name:36} {value}")
    print(_nonet(environment, "status"))
    if arguments.gold:
        print(_nonet(environment, "score", "latest", str(arguments.gold)))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1))
    _check(home, plan, seen)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="a new folder for the run")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--train-stack", default="gpu")
    parser.add_argument("--vllm-stack", default="vllm-gpu")
    parser.add_argument("--engine", choices=("vllm", "transformers"), default="vllm")
    parser.add_argument("--batch", type=Path, default=DEMO, help="the batch file to queue; default: the demo's")
    parser.add_argument("--gold", type=Path, help="labelled rows of its test, to score it with")
    parser.add_argument("--base", type=Path, help="a base of models.make.random_base, with rows of a real length")
    parser.add_argument("--problems", type=int, default=12, help="of four questions each, with --base")
    parser.add_argument("--adapters", type=int, default=2, help="with --base")
    parser.add_argument("--seconds", type=float, default=540, help="longest wait for the run")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    return parser.parse_args()


@contextmanager
def _fleet(environment: Mapping[str, str]) -> Iterator[None]:
    log = Path(environment["NONET_HOME"]).parent / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as printed:
        fleet = subprocess.Popen(
            [sys.executable, "-m", "cli", "up", "--workers", "1"],
            cwd=ROOT,
            env=environment,
            stdout=printed,
            stderr=printed,
        )
        try:
            _wait(lambda: b"Ctrl-C" in log.read_bytes() or fleet.poll() is not None, 60, "the fleet")
            assert fleet.poll() is None, log.read_text()
            yield
        finally:
            fleet.send_signal(signal.SIGINT)
            fleet.wait(120)


def _follow(home: Path, plan: Plan, seconds: float) -> Seen:
    """Watch the run to its submission; kill the compute process once, half way through the first training."""
    seen, progress, attempts = Seen(), Home(home), Attempts(Home(home))
    keys = {**{a.key: a.name for a in plan.adapters}, **{c.key: c.name for c in plan.cells}}
    first = plan.adapters[0]

    def look() -> bool:
        now = {name: _record(progress.progress(key)) for key, name in keys.items()}
        phases = {record["phase"] for record in now.values() if record}
        _remember_memory(
            seen, "training" if "training" in phases else "answering" if "answering" in phases else "other"
        )
        for name, record in now.items():
            if record and (record.get("step") or record.get("done")):
                seen.first_step.setdefault(name, time.time())
        step = int((now[first.name] or {}).get("step", 0))
        if seen.killed_at is None and step >= first.steps // 2:
            seen.killed_at, seen.killed_step = time.time(), step
            _kill_compute(home)
            return False
        _no_failure(attempts, keys)
        if seen.killed_at and seen.passed_again is None:
            done = Storage(Home(home)).has(ADAPTERS, first.key)
            if done or (step > seen.killed_step and time.time() - seen.killed_at > 1):
                seen.passed_again = time.time()
        return (home / "runs" / plan.run / plan.submission).exists()

    _wait(look, seconds, "the submission")
    return seen


def _no_failure(attempts: Attempts, keys: Mapping[str, str]) -> None:
    """Raise AssertionError for an attempt that failed: only the kill, which loses one, is part of the check."""
    for key, name in keys.items():
        for attempt in attempts.history(key):
            assert attempt.outcome is not Outcome.FAILED, f"{name}: {attempt.error}"


def _kill_compute(home: Path) -> None:
    killed = 0
    for process in psutil.process_iter(["cmdline"]):
        if "nonet.compute" in (process.info["cmdline"] or []) and process.environ().get("NONET_HOME") == str(home):
            process.send_signal(signal.SIGKILL)
            killed += 1
    assert killed, "there was no compute process to kill"


def _remember_memory(seen: Seen, phase: str) -> None:
    try:
        printed = subprocess.run(
            ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True
        ).stdout
    except FileNotFoundError:
        return
    if printed.strip():
        seen.memory[phase] = max(seen.memory.get(phase, 0), int(printed.split()[0]))


def _figures(home: Path, plan: Plan, seen: Seen) -> dict[str, Any]:
    storage, attempts = Storage(Home(home)), Attempts(Home(home))
    figures: dict[str, Any] = {
        "run": plan.run,
        "base": plan.bases[0].model.model,
        "GPU memory by phase, MiB": seen.memory,
    }
    for adapter in plan.adapters:
        commit = storage.read(ADAPTERS, adapter.key)
        assert commit is not None
        training = commit.body["training"]
        began = attempts.history(adapter.key)[0].started
        steps = training["steps"] - (training["resumed_from"] or 0)
        figures[f"training {adapter.name}"] = {
            "questions": adapter.questions,
            "steps": training["steps"],
            "seconds a step": round(training["seconds"] / max(1, steps), 4),
            "peak memory, MiB": training["peak_memory_bytes"] >> 20,
            "final loss": round(training["final_loss"], 4),
            "resumed from": training["resumed_from"],
            "warm-up, s": round(seen.first_step[adapter.name] - began, 1),
        }
    shards = []
    for shard in plan.shards:
        tries = [t for c in plan.cells if c.shard == shard for t in attempts.history(c.key) if t.ended]
        shards.append((min(t.started for t in tries), max(t.ended or 0 for t in tries), shard.questions))
    shards.sort()
    lasted = [end - start for start, end, _ in shards]
    figures["first shard, with the engine's start, s"] = round(lasted[0], 1)
    figures["seconds a shard, median of the others"] = round(statistics.median(lasted[1:]), 2)
    figures["prompts a shard"] = statistics.median(q for _, _, q in shards) * len(plan.adapters)
    if seen.killed_at and seen.passed_again:
        figures["killed at step"] = seen.killed_step
        figures["back past that step after, s"] = round(seen.passed_again - seen.killed_at, 1)
    return figures


def _check(home: Path, plan: Plan, seen: Seen) -> None:
    storage, attempts = Storage(Home(home)), Attempts(Home(home))
    first = plan.adapters[0]
    tries = attempts.history(first.key)
    commit = storage.read(ADAPTERS, first.key)
    assert seen.killed_at is not None, "the first training was over before it could be killed"
    assert commit is not None
    assert len(tries) == 2, f"one kill explains two attempts, not {len(tries)}"
    assert commit.body["training"]["resumed_from"], "the second attempt did not resume the checkpoint"
    rows = (home / "runs" / plan.run / plan.submission).read_text().splitlines()
    answered = sum(len(json.loads(row)["questions"]) for row in rows)
    wanted = sum(s.questions for s in plan.shards if s.set.value == "test")
    assert answered == wanted, f"{answered} answers for {wanted} questions"
    print(f"resumed from step {commit.body['training']['resumed_from']}; {answered} of {wanted} questions answered: ok")


def _flower_metrics(port: str) -> dict[str, float]:
    """Totals of Flower's Prometheus metrics that tell of tasks and workers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    totals: dict[str, float] = {}
    for line in lines:
        name = line.partition("{")[0].partition(" ")[0]
        if name in ("flower_events_total", "flower_worker_online"):
            totals[name] = totals.get(name, 0.0) + float(line.rpartition(" ")[2])
    return totals


def _nonet(environment: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"nonet {arguments} → {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _record(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return record


def _wait(what: Callable[[], bool], seconds: float, why: str) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise AssertionError(f"{why} did not come about in {seconds:.0f} s")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
