"""A compute process under test: starts one with a stack's Python, gives it orders, hears its events, ends it."""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "models" / "demo-base"
FINAL = {"done", "error", "drained"}
PROMPT = {"system": "选出正确的选项。Answer with one letter.", "prefix": "答案是：", "answer": "letter"}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RECIPE: dict[str, Any] = {
    "rank": 8,
    "alpha": 32,
    "dropout": 0.0,
    "max_length": 512,
    "learning_rate": 1e-3,
    "epochs": 2,
    "batch_size": 1,
    "targets": TARGETS,
    "seed": 0,
    "checkpoint_every": 10,
}

Event = dict[str, Any]


def stack_python(name: str) -> Path:
    """The Python of an installed stack; raises AssertionError, which fails the test, where it is not installed."""
    python = Path(os.environ["NONET_STACKS"]) / name / "bin" / "python"
    assert python.exists(), f"{python} is missing: `make stack-{name}` installs it"
    return python


class ComputeRig:
    """One compute process; `heard` holds every line of its stdout."""

    def __init__(self, stack: str, log: Path, *, path: Sequence[Path] = ()) -> None:
        self.heard: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._log = log.open("ab")
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT))),
            "OMP_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [stack_python(stack), "-m", "nonet.compute"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> ComputeRig:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def send(self, order: Mapping[str, Any] | str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write((order if isinstance(order, str) else json.dumps(order)) + "\n")
        self.process.stdin.flush()

    def events(self, seconds: float = 90.0) -> Iterator[Event]:
        """Events up to and with the one that ends an order; fails after `seconds` without any or when it dies."""
        while True:
            try:
                line = self._lines.get(timeout=seconds)
            except queue.Empty:
                raise AssertionError(f"no event for {seconds} s\n{self.words()}") from None
            assert line is not None, f"the compute process ended\n{self.words()}"
            event: Event = json.loads(line)
            yield event
            if event["event"] in FINAL:
                return

    def order(self, order: Mapping[str, Any] | str, seconds: float = 90.0) -> list[Event]:
        """Send an order and hear all its events."""
        self.send(order)
        return list(self.events(seconds))

    def until(self, wanted: Callable[[Event], bool]) -> Event:
        """Hear events up to the first that is wanted."""
        for event in self.events():
            if wanted(event):
                return event
        raise AssertionError(f"the order ended before what was waited for\n{self.heard[-3:]}")

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> None:
        """End it, and let go of its pipes."""
        self.process.kill()
        self.process.wait(30)
        self._reader.join(10)
        for pipe in (self.process.stdin, self.process.stdout, self._log):
            try:
                if pipe is not None:
                    pipe.close()
            except BrokenPipeError:
                pass

    def words(self, lines: int = 30) -> str:
        """Its last words on stderr."""
        return "\n".join(Path(self._log.name).read_text(errors="replace").splitlines()[-lines:])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard.append(line)
            self._lines.put(line)
        self._lines.put(None)


@contextmanager
def compute(folder: Path, stack: str = "cpu", *, path: Sequence[Path] = ()) -> Iterator[ComputeRig]:
    """A compute process of `stack` whose stderr goes to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with ComputeRig(stack, folder / f"{stack}.log", path=path) as rig:
        yield rig


NAMES = ("赵一", "钱二", "孙三", "李四", "Anna", "Ben", "Clara")


def write_rows(path: Path, count: int, *, seed: int = 0, padding: str = "") -> list[dict[str, Any]]:
    """Rows with two questions each about who is tallest and shortest; returns them, with answers."""
    random = Random(seed)
    rows = []
    for number in range(count):
        order = random.sample(NAMES, 4)
        stem = padding + "，".join(f"{a}比{b}高" for a, b in itertools.pairwise(order)) + "。"
        options = random.sample(order, 4)
        asks = [("选择题 1：\n谁最高？", order[0]), ("选择题 2：\n谁最矮？", order[-1])]
        questions = [{"question": t, "options": options, "answer": "ABCD"[options.index(r)]} for t, r in asks]
        rows.append({"id": f"row_{seed}_{number:03}", "problem": stem, "questions": questions})
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return rows


def write_examples(path: Path, count: int, *, seed: int = 0, letter: str | None = None, padding: str = "") -> Path:
    """Examples from rows of that seed; every one with `letter` where given, so that an adapter learns to say it."""
    rows = write_rows(path.with_suffix(".rows"), (count + 1) // 2, seed=seed, padding=padding)
    return _write_examples(path, rows, count, letter)


def _write_examples(
    path: Path, rows: Sequence[Mapping[str, Any]], count: int | None = None, letter: str | None = None
) -> Path:
    examples = [
        {
            "question_id": f"{row['id']}#{index}",
            "stem": row["problem"],
            "question": question["question"],
            "options": question["options"],
            "letter": letter or question["answer"],
            "source": "test",
        }
        for row in rows
        for index, question in enumerate(row["questions"])
    ]
    path.write_text("".join(json.dumps(e, ensure_ascii=False) + "\n" for e in examples[:count]), "utf-8")
    return path


def demo_examples(path: Path, source: str, rows: int) -> Path:
    """The questions of the first `rows` rows of the demo's source, with their answers."""
    lines = (ROOT / "data" / "demo" / f"{source}.jsonl").read_text("utf-8").splitlines()[:rows]
    return _write_examples(path, [json.loads(line) for line in lines])


def train_order(folder: Path, examples: Path, *, name: str = "train", **recipe: Any) -> dict[str, Any]:
    """An order to train into `folder`/out with checkpoints in `folder`/checkpoint."""
    out = folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    return {
        "op": "train",
        "id": name,
        "base": str(BASE),
        "examples": str(examples),
        "prompt": PROMPT,
        "recipe": RECIPE | recipe,
        "checkpoint": str(folder / "checkpoint"),
        "out": str(out),
        "threads": 1,
        "device": "cpu",
    }


def infer_order(adapters: Mapping[str, Path], rows: Path, stop: int, **other: Any) -> dict[str, Any]:
    """An order to answer the first `stop` rows with `adapters`."""
    return {
        "op": "infer",
        "id": "infer",
        "base": str(BASE),
        "adapters": [{"name": name, "path": str(path)} for name, path in adapters.items()],
        "problems": str(rows),
        "start": 0,
        "stop": stop,
        "prompt": PROMPT,
        "engine": "transformers",
        "max_length": 512,
        "max_tokens": 16,
        "permutations": 1,
        "max_loras": max(1, len(adapters)),
        "rank": 8,
        "threads": 1,
        "device": "cpu",
    } | other


def result(events: Sequence[Event]) -> dict[str, Any]:
    """The result of an order that must have ended well."""
    last = events[-1]
    assert last["event"] == "done", last
    found: dict[str, Any] = last["result"]
    return found


def ballots(events: Sequence[Event]) -> dict[str, list[dict[str, Any]]]:
    """Ballots by adapter."""
    return {event["adapter"]: event["ballots"] for event in events if event["event"] == "ballots"}


def files(folder: Path) -> dict[str, bytes]:
    """Content of all files of an adapter."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def wait_gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether the process `pid` is gone within `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def run_in_stack(stack: str, script: str, *arguments: str | Path, seconds: float = 110.0) -> Any:
    """Run tests/integration/`script` with the Python of `stack`; the last line of its stdout is JSON, returned."""
    done = subprocess.run(
        [stack_python(stack), ROOT / "tests" / "integration" / script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
