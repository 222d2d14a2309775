"""The order "train_jointly": several adapters over one base in one process, each told of by itself as soon as it ends.

Knows files and events; the loop is nonet.adapters.joint's, and what an adapter's files hold is that of the order
"train".
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nonet.adapters.checkpoint import Losses
from nonet.adapters.joint import JointWatch, Learned, train_jointly
from nonet.adapters.training import Course, Trained, recompute_activations
from nonet.adapters.tree_forward import sees_trees
from nonet.bases.base import Base, Form, base_architecture
from nonet.bases.stack import linear_layers, lora_config, versions
from nonet.compute.canary import Asked, recorded
from nonet.compute.failure import BadInputError, message
from nonet.compute.free_memory import free_memory
from nonet.compute.orders import AdapterOrder, JointOrder
from nonet.compute.peak import peak_memory
from nonet.compute.telling import DrainedError, Telling
from nonet.compute.train import course_of, mean_loss, read_course, tokens_by_step, training_result, write_adapter
from nonet.compute.warm import Warm, release_memory
from nonet.limits.joint_memory import JointSizes, joint_sizes
from nonet.limits.memory import Work
from nonet.limits.out_of_memory import is_out_of_memory
from nonet.questions.mix import Example
from nonet.runs.attempt import ErrorClass
from nonet.runs.plan import JOINT


def carry_out(order: JointOrder, warm: Warm, telling: Telling) -> dict[str, Any]:
    """Train; an event `trained` has each adapter's result, `failed` what is wrong with one. Raises DrainedError,
    BadInputError for what all of them share, OSError, ...
    """
    started = time.monotonic()
    telling.progress("loading", step=0, steps=None, loss=None, seconds_left=None)
    base, _ = warm.base(order.base, order.device, order.dtype)
    if not sees_trees(base.model, order.recipe.max_length):
        raise BadInputError(
            f"{order.base}: trainer joint cannot train over {base.model.config.model_type}, or over layers that look "
            f"back less than training.max_length {order.recipe.max_length}; write trainer: peft"
        )
    pupils = list(_pupils(order, base.tokenizer, telling))
    sizes = _sizes(order, base, max(1, len(pupils)))
    while pupils:
        try:
            _train(order, base, pupils, sizes, telling)
            break
        except Exception as error:
            smaller = sizes.halved(order.recipe.max_length + 1) if is_out_of_memory(error) else None
            if smaller is None:
                raise
            print(f"memory ran out ({message(error)}): {sizes} at once, now {smaller}", file=sys.stderr, flush=True)
            sizes = smaller
        pupils = [pupil for pupil in pupils if not pupil.ended]
        release_memory()
    told = {"seconds": round(time.monotonic() - started, 3), "peak_memory_bytes": peak_memory()}
    return told | {"at_once": asdict(sizes)}


def _train(order: JointOrder, base: Base, pupils: Sequence[_Pupil], sizes: JointSizes, telling: Telling) -> None:
    """Train `pupils` from where they stand; raises DrainedError."""
    if sizes.recompute:
        recompute_activations(base.model)
    watch, courses = _watch(order, base, pupils, telling), [pupil.course for pupil in pupils]
    try:
        trained = train_jointly(base.model, courses, watch, slots=sizes.slots, budget=sizes.tokens)
    finally:
        base.model.gradient_checkpointing_disable()
        base.model.requires_grad_(False).eval()
    if any(one is not None and one.drained for one in trained):
        raise DrainedError(sum(one.step for one in trained if one is not None))


def _sizes(order: JointOrder, base: Base, adapters: int) -> JointSizes:
    """What is done at once on the memory that is free here; the least there is where it seems too little for that."""
    recipe, device = order.recipe, "cpu" if order.device == "cpu" else "cuda"
    longest = recipe.max_length + 1
    work = Work(recipe.rank, recipe.targets, longest, recipe.batch_size, recipe.dropout, adapters, free_text=False)
    found = joint_sizes(base_architecture(order.base), work, device, free_memory(order.device), order.dtype)
    return found or JointSizes(1, longest, base.form is Form.PACKED and device != "cpu")


@dataclass(slots=True)
class _Pupil:
    """One adapter of the order with its training; `cut` stems, `tokens` of its first n steps, for each n from 0;
    whether it has `ended`, trained or failed.
    """

    adapter: AdapterOrder
    examples: tuple[Example, ...]
    course: Course
    cut: int
    tokens: tuple[int, ...]
    ended: bool = False


def _pupils(order: JointOrder, tokenizer: Any, telling: Telling) -> Iterator[_Pupil]:
    """The adapters whose examples can be used; of the others it is told what is wrong with them."""
    for adapter in order.adapters:
        try:
            examples = read_course(adapter)
            course, cut = course_of(order, adapter, examples, tokenizer)
        except ValueError as error:
            telling.event("failed", adapter=adapter.name, error_class=ErrorClass.BAD_INPUT, error=str(error))
        else:
            yield _Pupil(adapter, examples, course, cut, tokens_by_step(course))


def _watch(order: JointOrder, base: Base, pupils: Sequence[_Pupil], telling: Telling) -> JointWatch:
    recipe, progress = order.recipe, _Progress(pupils, telling)
    made_by = {"layers": linear_layers(base.model), "versions": versions(), "trainer": JOINT, "company": len(pupils)}

    def done(number: int, trained: Trained, learned: Learned) -> None:
        pupil = pupils[number]
        asked = Asked(base.model, order.prompt, base.tokenizer, nullcontext, learned.worn)
        canary = recorded(asked, pupil.examples, pupil.course.lessons)
        config = lora_config(rank=recipe.rank, alpha=recipe.alpha, dropout=recipe.dropout, targets=recipe.targets)
        write_adapter(learned.weights, config.to_dict(), Path(pupil.adapter.out), trained.losses, canary)
        result = training_result(pupil.course, trained, pupil.cut, canary) | made_by
        pupil.ended = True
        telling.event("trained", adapter=pupil.adapter.name, result=result)

    def failed(number: int, error: ArithmeticError) -> None:
        pupils[number].ended = True
        event("failed", number, error_class=ErrorClass.BAD_INPUT, error=str(error))

    def event(name: str, number: int, **fields: Any) -> None:
        telling.event(name, adapter=pupils[number].adapter.name, **fields)

    return JointWatch(
        step=progress.step,
        saved=lambda number, step: event("checkpoint", number, step=step),
        resumed=lambda number, step: event("resumed", number, step=step),
        done=done,
        failed=failed,
        stop=telling.stop,
    )


class _Progress:
    """Where the adapters stand: each by itself, and all together for who shows one line."""

    def __init__(self, pupils: Sequence[_Pupil], telling: Telling) -> None:
        self._pupils = pupils
        self._telling = telling
        self._all = sum(pupil.course.steps for pupil in pupils)
        self._states: dict[str, dict[str, Any]] = {}

    def step(self, number: int, step: int, steps: int, losses: Losses, seconds_left: float) -> None:
        pupil = self._pupils[number]
        self._states[pupil.adapter.name] = {
            "step": step,
            "steps": steps,
            "loss": round(mean_loss(losses), 4),
            "seconds_left": round(seconds_left, 1),
            "tokens": pupil.tokens[step],
        }
        states = self._states.values()
        self._telling.progress(
            "training",
            last=step == steps,
            step=sum(state["step"] for state in states),
            steps=self._all,
            loss=round(sum(state["loss"] for state in states) / len(states), 4),
            seconds_left=max(state["seconds_left"] for state in states),
            tokens=sum(state["tokens"] for state in states),
            adapters=self._states,
        )
