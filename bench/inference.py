"""How fast shards are answered: `python -m bench.inference` times Nonet's engines beside what users do.

Arms, interleaved in every round, each in a process of its own stack (`bench.inference_arms`):

N   transformers and peft as they come, one prompt after another, one adapter after another, whole logits
R   the same loop over Nonet's resident base: what is left of a ratio to R does not come from how weights are held
U   vLLM, one engine per adapter: one of these processes is timed in a round, and counted once for each member
O1  Nonet's engine `vllm`: one engine, all members
O2  Nonet's engine `transformers`: tree scoring
O3  O1 that stops when decided; what members say is drawn (`bench.inference_arms.Decided`)

On a CPU seconds are the processor's, of one process with one thread: the machine may be shared. Ratios are of medians
over the rounds. `--save FILE` keeps every timing and adds up rounds of several calls.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.ensemble_runs import ROOT

VLLM = ("U", "O1", "O3")
ARMS = ("N", "R", "U", "O1", "O2", "O3")
RATIOS = (
    ("N", "O2", ""),
    ("R", "O2", ""),
    ("N", "O1", ""),
    ("U", "O1", "with starts"),
    ("U", "O1", ""),
    ("O1", "O3", ""),
)
"""(slower, faster, whether starts are counted), as the table has them."""
BARS = {("N", "O2", "", 9, 4): 4.0, ("U", "O1", "with starts", 9, 4): 2.0}
"""Of a CPU, at so many members and questions a stem."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One arm's seconds for `prompts` of each of `members`, and to load (`start`); FLOP of the layers, the matrix peak
    (FLOP/s) measured just before in the same process, and the most memory (bytes) it held.
    """

    arm: str
    members: int
    questions: int
    seconds: float
    start: float
    prompts: int
    flop: float
    peak: float
    memory: int

    @property
    def per_prompt(self) -> float:
        return self.seconds / (self.prompts * self.members)

    def with_start(self) -> float:
        """Seconds a prompt with the start counted; of U every member has one."""
        starts = self.members if self.arm == "U" else 1
        return (self.seconds + starts * self.start) / (self.prompts * self.members)


class Arm:
    """A process of `bench.inference_arms`; raises RuntimeError with its last words when it ends early."""

    def __init__(self, told: argparse.Namespace, arm: str, folder: Path) -> None:
        begun = time.perf_counter()
        self._log = (folder / f"{arm}.log").open("w+")
        stack = ("vllm-" if arm in VLLM else "") + ("cpu" if told.device == "cpu" else "gpu")
        sizes = {name: getattr(told, name) for name in ("shape", "device", "threads", "stem", "question")}
        options = [f"--{name}={value}" for name, value in (sizes | {"members": max(told.members)}).items()]
        self._child = subprocess.Popen(
            [_python(stack), "-m", "bench.inference_arms", arm, str(folder), *options],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": str(told.threads), "TORCHDYNAMO_DISABLE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.ready = self.hear()
        told_start = self.ready.get("start")
        self.start = time.perf_counter() - begun if told_start is None else told_start

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(order) + "\n")
        self._child.stdin.flush()
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """The next JSON object that it tells."""
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if line.startswith("{"):
                told: dict[str, Any] = json.loads(line)
                return told
        self._log.seek(0)
        raise RuntimeError(f"the arm ended:\n{self._log.read()[-3000:]}")

    def close(self) -> None:
        self._child.kill()
        self._child.communicate()
        self._log.close()


def _python(stack: str) -> str:
    python = Path(os.environ.get("NONET_STACKS", ROOT / ".stacks")) / stack / "bin" / "python"
    if not python.exists():
        sys.exit(f"{python} is missing: `make stack-{stack}` installs it")
    return str(python)


def one_round(told: argparse.Namespace, number: int, kept: dict[str, Arm], folder: Path) -> Iterator[Timing]:
    """Every arm once; another begins each round. Arms of `kept` stay loaded; where there is no room for all of them (on
    a GPU), and where starts count (vLLM's), a process lives for one round.
    """
    arms = [told.arms[(number + at) % len(told.arms)] for at in range(len(told.arms))]
    for name in arms:
        fresh = name in VLLM or told.device != "cpu"
        arm = Arm(told, name, folder) if fresh else kept.get(name) or kept.setdefault(name, Arm(told, name, folder))
        try:
            for questions in told.questions:
                yield from _timed(told, number, name, arm, questions)
        finally:
            if fresh:
                arm.close()


def _timed(told: argparse.Namespace, number: int, name: str, arm: Arm, questions: int) -> Iterator[Timing]:
    most = max(told.members)
    plain, tree = told.plain_problems, told.tree_problems
    problems = {"N": plain, "R": plain, "O2": tree}.get(name, told.problems)
    orders = {"O1": list(told.members), "O3": list(told.members), "U": [1]}.get(name, [most])
    for members in orders:
        seed = f"{number} {questions} {members}" if name in VLLM else f"{number} {questions}"
        found = arm.ask(seed=seed, questions=questions, problems=problems, members=members)
        seconds = {int(done): value for done, value in found["seconds"].items()}
        for counted in [members] if name in ("O1", "O3") else told.members:
            own = seconds[1] * counted if name == "U" else seconds[counted]
            flop = found["flop"] * counted
            yield Timing(
                name, counted, questions, own, arm.start, found["prompts"], flop, found["peak"], found["memory"]
            )


def table(timings: Iterable[Timing], device: str) -> Iterator[str]:
    """Ratios first, then what they are made of."""
    by: dict[tuple[str, int, int], list[Timing]] = {}
    for timing in timings:
        by.setdefault((timing.arm, timing.members, timing.questions), []).append(timing)
    grid = sorted({(questions, members) for _, members, questions in by})
    arms = [arm for arm in ARMS if any(arm == key[0] for key in by)]
    ratios = [ratio for ratio in RATIOS if ratio[0] in arms and ratio[1] in arms]
    yield "| questions a stem | members | " + " | ".join(_name(*ratio) for ratio in ratios) + " |"
    yield "| --- " * (2 + len(ratios)) + "|"
    for questions, members in grid:
        cells = []
        for slow, fast, starts in ratios:
            slower, faster = by[slow, members, questions], by[fast, members, questions]
            value = _median(slower, starts) / _median(faster, starts)
            bar = BARS.get((slow, fast, starts, members, questions)) if device == "cpu" else None
            cells.append(
                f"{value:.2f}" + ("" if bar is None else f" (bar {bar:g}: {'met' if value >= bar else 'NOT MET'})")
            )
        yield f"| {questions} | {members} | " + " | ".join(cells) + " |"
    yield ""
    yield "| questions a stem | members | arm | ms a prompt | worst | start s | of matrix peak | peak MiB | rounds |"
    yield "| --- " * 9 + "|"
    for questions, members in grid:
        for arm in arms:
            own = by[arm, members, questions]
            share = statistics.median(timing.flop / timing.seconds / timing.peak for timing in own)
            worst = max(timing.per_prompt for timing in own)
            start = statistics.median(timing.start for timing in own)
            memory = max(timing.memory for timing in own) / 2**20
            figures = f"{_median(own, '') * 1000:.1f} | {worst * 1000:.1f} | {start:.1f} | {share:.0%} | {memory:.0f}"
            yield f"| {questions} | {members} | {arm} | {figures} | {len(own)} |"


def _name(slow: str, fast: str, starts: str) -> str:
    return f"{fast} over {slow}" + (f", {starts}" if starts else "")


def _median(timings: Sequence[Timing], starts: str) -> float:
    return statistics.median(timing.with_start() if starts else timing.per_prompt for timing in timings)


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    made = Path(tempfile.mkdtemp(prefix="nonet-bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def _close(arms: dict[str, Arm]) -> None:
    for arm in arms.values():
        arm.close()


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="40m", help="of models.make.random_base; 32b on a GPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--members", nargs="+", type=int, default=[1, 3, 9])
    parser.add_argument("--questions", nargs="+", type=int, default=[1, 2, 4, 6], help="of each stem")
    parser.add_argument("--problems", type=int, default=1, help="stems that U, O1 and O3 are asked")
    parser.add_argument(
        "--tree-problems", type=int, default=3, help="stems that O2 is asked: a forward on a CPU holds 3"
    )
    parser.add_argument("--plain-problems", type=int, default=1, help="stems that N and R are asked")
    parser.add_argument("--stem", type=int, default=350, help="tokens of a stem")
    parser.add_argument("--question", type=int, default=60, help="tokens of a question")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, help="where base and adapters lie or are made; left out: made and removed"
    )
    parser.add_argument("--save", type=Path, help="add the timings to this file, and count those that it has")
    parser.add_argument("--quick", action="store_true", help="one small round of N and O2, to try this script")
    told = parser.parse_args(given)
    if told.quick:
        told.shape, told.arms, told.members, told.questions, told.rounds = "tiny", ["N", "O2"], [1, 2], [3], 1
        told.stem, told.question = 40, 8
    return told


def main(given: Sequence[str] | None = None) -> None:
    told = arguments(given)
    timings = []
    if told.save and told.save.exists():
        timings = [Timing(**json.loads(line)) for line in told.save.read_text("utf-8").splitlines()]
    with _folder(told.folder) as folder, ExitStack() as stack:
        made = Arm(told, "prepare", folder)
        made.close()
        parameters, output = made.ready["parameters"], made.ready["output"]
        print(f"base {told.shape}: {parameters / 1e6:.1f} M parameters, output layer {output / parameters:.1%} of them")
        kept: dict[str, Arm] = {}
        stack.callback(lambda: _close(kept))
        before = max(Counter((t.arm, t.members, t.questions) for t in timings).values(), default=0)
        for number in range(before, before + told.rounds):
            for timing in one_round(told, number, kept, folder):
                timings.append(timing)
                if told.save:
                    with told.save.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(timing)) + "\n")
    print(f"{told.threads} threads, {told.device}\n")
    print("\n".join(table(timings, told.device)))


if __name__ == "__main__":
    main()
