"""What company costs: memory and time of training 1, 2, … adapters jointly on a CPU, each in a process of its own.

    python -m bench.company --adapters 1 12

Run with the Python of the stack `cpu`, from the root of the checkout. The base has random weights of a shape of
models/make/random_base.py, as plain numbers, as a CPU holds a base. Prints the peak of the process (resident memory)
and the seconds that it computed, a question and adapter; the last line has the ratio of the first and the last peak.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.random_model import shape_of
from bench.training_arms import Case
from models.make.random_base import SHAPES, base_config
from nonet.adapters.joint import JointWatch, train_jointly
from nonet.adapters.recipe import Recipe
from nonet.adapters.training import Course
from nonet.compute.peak import peak_memory

MIB = 2**20


def measure(shape: str, adapters: int, tokens: int, steps: int) -> tuple[float, float]:
    """(MiB at the peak, seconds a question and adapter) of so many steps of one question; the first is not timed."""
    import torch
    import transformers

    torch.set_num_threads(1)
    config = {k: v for k, v in base_config(shape_of(shape, None)).items() if k != "quantization_config"}
    model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**config)).float().eval().requires_grad_(False)
    times: list[float] = []

    def told(*_: Any) -> None:
        times.append(time.process_time())

    def nothing(*_: Any) -> None: ...

    with tempfile.TemporaryDirectory() as folder:
        courses = [
            Course(
                Case(1, 1).lessons(steps, config["vocab_size"], seed),
                Recipe(epochs=1, seed=seed, checkpoint_every=10**9),
                Path(folder, str(seed)),
                str(seed),
            )
            for seed in range(adapters)
        ]
        watch = JointWatch(told, nothing, nothing, nothing, nothing, lambda: False)
        train_jointly(model, courses, watch, budget=tokens)
    seconds = (times[-1] - times[adapters - 1]) / (steps - 1) / adapters
    return peak_memory() / MIB, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="40m")
    parser.add_argument("--adapters", type=int, nargs="+", default=[1, 12])
    parser.add_argument("--tokens", type=int, default=2048, help="through the base at once")
    parser.add_argument("--steps", type=int, default=4, help="of each adapter, at least 2")
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here is not None:
        print(*measure(arguments.shape, arguments.here, arguments.tokens, arguments.steps))
        return
    peaks = []
    for adapters in arguments.adapters:
        own = ["--shape", arguments.shape, "--tokens", str(arguments.tokens)]
        own += ["--steps", str(arguments.steps), "--here", str(adapters)]
        done = subprocess.run(
            [sys.executable, "-m", "bench.company", *own], check=True, stdout=subprocess.PIPE, text=True
        )
        peak, seconds = map(float, done.stdout.splitlines()[-1].split())
        peaks.append(peak)
        print(f"{adapters:3} adapters  {peak:7.0f} MiB  {seconds:.3f} s a question and adapter", flush=True)
    print(f"peak of {arguments.adapters[-1]} over that of {arguments.adapters[0]}: {peaks[-1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
