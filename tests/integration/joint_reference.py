"""Joint training beside separate training by peft, in float64 on a random model. Run by the Python of the stacks `cpu`
and `volta-cpu`.

joint_reference.py FOLDER  → for batches of one and of three lessons, of three with dropout: the largest relative
                             difference of any gradient, of any loss of the curve, and of any final weight, five
                             adapters in two slots; how far one that diverges moves the others, and
                             how far from the unbroken training one is that was stopped in the middle of a step
Prints one line of JSON last.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet.adapters.joint import JointWatch, train_jointly
from nonet.adapters.joint_step import Turn, backward
from nonet.adapters.lora import LoraBank, LoraShape
from nonet.adapters.recipe import Recipe
from nonet.adapters.training import Course, Lesson, Watch, answer_loss, fresh_adapter, step_seed, train
from nonet.bases.stack import unwrap

if TYPE_CHECKING:
    from tests.integration.lora_reference import RANK, adapter_weights, apart, tiny_model
else:  # from the folder of this script: a package of the stack `volta-cpu` brings a package `tests` of its own
    from lora_reference import RANK, adapter_weights, apart, tiny_model

COURSES = (7, 4, 9, 6, 5)
"""Lessons of each adapter."""
BUDGET = 60
"""Tokens at once: less than a step comes to, so that steps are computed in pieces."""


def quiet(*_: object) -> None:
    """Hears what nobody asks for."""


def lessons(number: int) -> tuple[Lesson, ...]:
    """Two or three questions to a stem, with replies of one to three tokens, all of different lengths."""
    draw = random.Random(number)
    found = []
    for at in range(COURSES[number]):
        stem = at // 3
        words = random.Random(100 * number + stem)
        begins = tuple(words.randrange(1, 50) for _ in range(words.randrange(5, 25)))
        ends = tuple(draw.randrange(1, 50) for _ in range(draw.randrange(2, 9)))
        reply = tuple(draw.randrange(1, 50) for _ in range(draw.randrange(1, 4)))
        found.append(Lesson(begins + ends, reply, f"stem {stem}"))
    return tuple(found)


def recipe(number: int, **values: Any) -> Recipe:
    """Another seed, rate and length for each adapter: nothing of one may leak into another."""
    rate = 1e-3 * (number + 1)
    return Recipe(rank=RANK, alpha=8, learning_rate=rate, seed=number, epochs=1 + number % 2, **values)


def separate(model: Any, course: Course) -> tuple[list[float], dict[str, Any]]:
    """Losses and final weights of a training by peft."""
    wrapped = fresh_adapter(model, course.recipe)
    try:
        for weight in wrapped.parameters():
            weight.data = weight.data.double()
        trained = train(wrapped, course, Watch(quiet, quiet, quiet, lambda: False))
        weights = {n.replace(".default", ""): w.detach().clone() for n, w in _trained(wrapped)}
    finally:
        unwrap(wrapped)
        model.requires_grad_(False).eval()
    return [loss for _, loss, _ in trained.losses], weights


def _trained(wrapped: Any) -> list[tuple[str, Any]]:
    return [(name, weight) for name, weight in wrapped.named_parameters() if weight.requires_grad]


def curves(folder: Path, **values: Any) -> dict[str, float]:
    """Whole trainings: losses and final weights."""
    model = tiny_model()
    courses = [
        Course(lessons(at), recipe(at, **values), folder / f"{at}", f"course {at}") for at in range(len(COURSES))
    ]
    done: dict[int, tuple[Any, Mapping[str, Any]]] = {}
    watch = JointWatch(
        quiet, quiet, quiet, lambda at, t, learned: done.update({at: (t, learned.weights)}), quiet, lambda: False
    )
    train_jointly(model, courses, watch, slots=2, budget=BUDGET, together=True)
    worst = {"loss": 0.0, "weight": 0.0}
    for at, course in enumerate(courses):
        own = Course(course.lessons, course.recipe, folder / f"own-{at}", course.identity)
        losses, weights = separate(model, own)
        trained, joint = done[at]
        assert trained.step == len(losses) == course.steps
        for (_, mine, _), theirs in zip(trained.losses, losses, strict=True):
            worst["loss"] = max(worst["loss"], abs(mine - theirs) / abs(theirs))
        for name, weight in weights.items():
            worst["weight"] = max(worst["weight"], apart(joint[name].double(), weight.float().double()))
    return worst


def gradients(size: int, dropout: float) -> float:
    """Gradients of one step of three adapters that have learned something, beside each by itself."""
    import torch
    from peft import set_peft_model_state_dict

    model, own = tiny_model(), Recipe(rank=RANK, alpha=8, dropout=dropout)
    bank = LoraBank(model, LoraShape.of(own), 3)
    turns = [Turn(slot, lessons(slot)[:size]) for slot in range(3)]
    weights = [adapter_weights(bank.modules, slot) for slot in range(3)]
    for slot in range(3):
        bank.fill(slot, weights[slot], scale=2.0)
        if dropout:
            bank.seed_dropout(slot, step_seed(slot, 0))
    with bank.worn():
        losses = backward(model, bank, turns, BUDGET, together=True)
    worst = 0.0
    for slot, turn in enumerate(turns):
        wrapped = fresh_adapter(model, own)
        try:
            set_peft_model_state_dict(wrapped, dict(weights[slot]))
            for weight in wrapped.parameters():
                weight.data = weight.data.double()
            torch.manual_seed(step_seed(slot, 0))
            loss = answer_loss(wrapped, turn.lessons, "cpu")
            loss.backward()
            theirs = {name: weight.grad.clone() for name, weight in _trained(wrapped)}
        finally:
            unwrap(wrapped)
        worst = max(worst, abs(losses[slot] / float(loss.detach()) - 1))
        for name, weight in bank.parameters(slot).items():
            worst = max(worst, apart(weight.grad, theirs[name]))
    return worst


def diverging(folder: Path) -> dict[str, float]:
    """One of five adapters has a rate with which it diverges: how far the others are from trainings without it."""
    import torch

    def ends(numbers: list[int], name: str) -> tuple[dict[int, Any], list[int]]:
        model, done, failed = tiny_model(), {}, []
        courses = []
        for at in numbers:
            own = replace(recipe(at, batch_size=1), learning_rate=1e200 if at == 2 else 1e-3)
            courses.append(Course(lessons(at), own, folder / f"{name}-{at}", f"course {at}"))
        watch = JointWatch(
            quiet,
            quiet,
            quiet,
            lambda at, trained, learned: done.update({numbers[at]: learned.weights}),
            lambda at, error: failed.append(numbers[at]),
            lambda: False,
        )
        train_jointly(model, courses, watch, budget=BUDGET, together=True)
        return done, failed

    whole, failed = ends([0, 1, 2, 3, 4], "with")
    rest, _ = ends([0, 1, 3, 4], "without")
    assert failed == [2], failed
    assert whole.keys() == rest.keys()
    pairs = [(whole[at][name], weight) for at, weights in rest.items() for name, weight in weights.items()]
    assert all(torch.isfinite(mine).all() for mine, _ in pairs)
    return {"weight": max(apart(mine.double(), other.double()) for mine, other in pairs)}


def stopped(folder: Path) -> dict[str, float]:
    """Stopped in the middle of a step, and taken up again: how far from the unbroken training."""
    found = []
    for name, asked in (("unbroken", 10**9), ("stopped", 9)):
        model, left = tiny_model(), asked
        done: dict[int, Mapping[str, Any]] = {}

        def stop() -> bool:
            nonlocal left
            left -= 1
            return left == 0

        courses = [Course(lessons(at), recipe(at, batch_size=3), folder / name / f"{at}", "own") for at in range(3)]

        def keep(number: int, _trained: Any, learned: Any, done: Any = done) -> None:
            done[number] = learned.weights

        watch = JointWatch(quiet, quiet, quiet, keep, quiet, stop)
        ended = train_jointly(model, courses, watch, budget=30, together=True)
        if name == "stopped":
            assert {one.step for one in ended if one is not None and one.drained} == {1}, ended
            train_jointly(model, courses, watch, budget=30, together=True)
        found.append(done)
    whole, broken = found
    assert whole.keys() == broken.keys() == {0, 1, 2}
    return {"weight": max(apart(broken[at][n].double(), w.double()) for at in whole for n, w in whole[at].items())}


def main(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for size, dropout in ((1, 0.0), (3, 0.0), (3, 0.2)):
        name = f"{size} lessons, dropout {dropout}"
        found[name] = {"gradient": gradients(size, dropout)}
        found[name] |= curves(folder / name, batch_size=size, dropout=dropout, checkpoint_every=3)
    return {"alike": found, "diverging": diverging(folder), "stopped": stopped(folder)}


if __name__ == "__main__":
    print("\n" + json.dumps(main(Path(sys.argv[1]))))
