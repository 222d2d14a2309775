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

from nonet.adapters.recipe import Recipe
from nonet.compute import __main__ as life
from nonet.compute import infer, train, train_jointly
from nonet.compute.orders import AdapterOrder, InferOrder, JointOrder, TrainOrder
from nonet.compute.telling import DrainedError, Telling
from nonet.engines.adapter_files import CONFIG, WEIGHTS
from nonet.questions.mix import read_examples
from nonet.questions.rows import read_problems
from nonet.stores.atomic import replace_file
from nonet.voting.ballot import Ballot

CHECKPOINT = "step.json"
SEGMENTATION_FAULT = 128 + 11


def train_paced(order: TrainOrder, warm: object, telling: Telling) -> dict[str, Any]:
    """Count the steps, with checkpoints; write an adapter of NONET_PACE_BYTES bytes."""
    steps = order.recipe.steps(len(read_examples(Path(order.adapter.examples))))
    checkpoint = Path(order.adapter.checkpoint) / CHECKPOINT
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
    return _written(order.adapter, order.recipe, steps, resumed)


def train_jointly_paced(order: JointOrder, warm: object, telling: Telling) -> dict[str, Any]:
    """The same for several adapters, step by step; takes NONET_PACE_MEMORY bytes for each."""
    held = bytearray(int(os.environ.get("NONET_PACE_MEMORY", "0")) * len(order.adapters))
    steps = {a.name: order.recipe.steps(len(read_examples(Path(a.examples)))) for a in order.adapters}
    at, resumed = {}, {}
    for adapter in order.adapters:
        checkpoint = Path(adapter.checkpoint) / CHECKPOINT
        resumed[adapter.name] = json.loads(checkpoint.read_bytes()) if checkpoint.exists() else None
        at[adapter.name] = resumed[adapter.name] or 0
        if at[adapter.name]:
            telling.event("resumed", adapter=adapter.name, step=at[adapter.name])
    waiting = list(order.adapters)
    while waiting:
        stopping = telling.stop()
        for adapter in list(waiting):
            at[adapter.name] += 1
            if at[adapter.name] % order.recipe.checkpoint_every == 0 or stopping:
                replace_file(Path(adapter.checkpoint) / CHECKPOINT, json.dumps(at[adapter.name]).encode())
                telling.event("checkpoint", adapter=adapter.name, step=at[adapter.name])
            if at[adapter.name] == steps[adapter.name]:
                result = _written(adapter, order.recipe, steps[adapter.name], resumed[adapter.name])
                telling.event("trained", adapter=adapter.name, result=result)
                waiting.remove(adapter)
        each = {name: {"step": step, "steps": steps[name]} for name, step in at.items()}
        telling.progress("training", last=True, step=sum(at.values()), steps=sum(steps.values()), adapters=each)
        if max(at.values()) >= max(steps.values()) - 1:  # the shorter ones are done
            _hold("training", telling, sum(at.values()))
        if stopping and waiting:
            raise DrainedError(sum(at.values()))
    del held
    return {"seconds": 0.0}


def _written(adapter: AdapterOrder, recipe: Recipe, steps: int, resumed: int | None) -> dict[str, Any]:
    content = Path(adapter.examples).read_bytes() + json.dumps(recipe.to_json(), sort_keys=True).encode()
    seed = hashlib.sha256(content).digest()
    replace_file(Path(adapter.out) / WEIGHTS, seed * (int(os.environ.get("NONET_PACE_BYTES", "65536")) // 32))
    replace_file(Path(adapter.out) / CONFIG, b"{}\n")
    return {"steps": steps, "examples": steps, "cut": 0, "final_loss": 1.0, "seconds": 0.0, "resumed_from": resumed}


def infer_paced(order: InferOrder, warm: object, telling: Telling) -> dict[str, Any]:
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
    train_jointly.carry_out = train_jointly_paced
    infer.carry_out = infer_paced
    life._use_threads = lambda order: None
    life.main()
