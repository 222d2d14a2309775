"""A compute process without a model: the real one's life, pipes and orders, with arithmetic in place of torch.

What it makes is a pure function of the order's inputs, in milliseconds; a file `<phase>.hold` in the folder
NONET_PACE holds a phase (`training`, `answering`) for as long as it stands. Faults around the computation (Redis,
storage, clocks, networks) need work that can be held at a point, not a model; tests/integration has those.

NONET_PACE_POISON, `<problem id>` or `<problem id>@<adapter key>`, ends the process that comes to answer it, with the
status of a shell that saw a segmentation fault. NONET_PACE_MEMORY bytes are really taken for each adapter of a group.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from nonet.atomic import replace_file
from nonet.ballot import Ballot
from nonet.compute import __main__ as life
from nonet.compute import infer, train
from nonet.compute.orders import InferOrder, TrainOrder
from nonet.compute.telling import DrainedError, Telling
from nonet.engines.adapter_files import CONFIG, WEIGHTS
from nonet.mix import read_examples
from nonet.rows import read_problems

CHECKPOINT = "step.json"
SEGMENTATION_FAULT = 128 + 11


def train_paced(order: TrainOrder, _warm: object, telling: Telling) -> dict[str, Any]:
    """Count the steps, with checkpoints; write an adapter of NONET_PACE_BYTES bytes."""
    examples = Path(order.examples).read_bytes()
    steps = order.recipe.steps(len(read_examples(Path(order.examples))))
    checkpoint = Path(order.checkpoint) / CHECKPOINT
    resumed = json.loads(checkpoint.read_bytes()) if checkpoint.exists() else None
    if resumed is not None:
        telling.event("resumed", step=resumed)
    for step in range((resumed or 0) + 1, steps + 1):
        telling.progress("training", last=True, step=step, steps=steps, loss=1.0, seconds_left=0.0)
        if step % order.recipe.checkpoint_every == 0 or telling.stop():
            replace_file(checkpoint, json.dumps(step).encode())
            telling.event("checkpoint", step=step)
        if step == steps // 2:
            _hold("training", telling, step)
        telling.stop_here(step)
    seed = hashlib.sha256(examples + json.dumps(order.recipe.to_json(), sort_keys=True).encode()).digest()
    replace_file(Path(order.out) / WEIGHTS, seed * (int(os.environ.get("NONET_PACE_BYTES", "65536")) // 32))
    replace_file(Path(order.out) / CONFIG, b"{}\n")
    return {"steps": steps, "examples": steps, "cut": 0, "final_loss": 1.0, "seconds": 0.0, "resumed_from": resumed}


def infer_paced(order: InferOrder, _warm: object, telling: Telling) -> dict[str, Any]:
    """Answer each question by a digest of the adapter and the question."""
    problems, defects = read_problems(Path(order.problems), labelled=False)
    assert not defects, defects
    questions = [q for p in problems[order.start : order.stop] for q in p.questions]
    held = bytearray(int(os.environ.get("NONET_PACE_MEMORY", "0")) * len(order.adapters))
    poison, _, poisoned = os.environ.get("NONET_PACE_POISON", "").partition("@")
    for index, adapter in enumerate(order.adapters):
        done = {"done": index * len(questions), "total": len(order.adapters) * len(questions)}
        telling.progress("answering", last=True, questions=done["done"], **done)
        _hold("answering", telling, index)
        if poison in {q.problem_id for q in questions} and poisoned in ("", adapter.name):
            os._exit(SEGMENTATION_FAULT)
        weights = (Path(adapter.path) / WEIGHTS).read_bytes()
        ballots = [_ballot(weights, q.id, q.letters).to_json() for q in questions]
        telling.event("ballots", adapter=adapter.name, ballots=ballots)
    del held
    return {"seconds": 0.0, "prompts": len(questions), "cut": 0, "warm": True}


def _ballot(weights: bytes, question: str, letters: str) -> Ballot:
    chosen = int.from_bytes(hashlib.sha256(weights + question.encode()).digest()[:4], "big") % len(letters)
    rest = math.log(0.3 / (len(letters) - 1))
    logprobs = tuple(math.log(0.7) if index == chosen else rest for index in range(len(letters)))
    return Ballot(question, letters[chosen], logprobs)


def _hold(phase: str, telling: Telling, step: int) -> None:
    gate = Path(os.environ["NONET_PACE"]) / f"{phase}.hold"
    while gate.exists():
        time.sleep(0.02)
        if telling.stop():
            raise DrainedError(step)


if __name__ == "__main__":
    train.carry_out = train_paced
    infer.carry_out = infer_paced
    life._use_threads = lambda _order: None
    life.main()
