"""The order "train": from a file of examples to an adapter's folder. Knows files and events; the loop is training's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from nonet.adapters.canary import CANARY, Canary, canary_bytes, effect
from nonet.adapters.checkpoint import Losses
from nonet.adapters.training import (
    Course,
    Lesson,
    Trained,
    Watch,
    fresh_adapter,
    lessons_by_step,
    recompute_activations,
    train,
)
from nonet.bases.base import Form, base_identity
from nonet.bases.stack import linear_layers, unwrap, versions
from nonet.compute.canary import Asked, recorded
from nonet.compute.failure import BadInputError, input_file
from nonet.compute.orders import AdapterOrder, JointOrder, TrainOrder
from nonet.compute.peak import peak_memory
from nonet.compute.telling import DrainedError, Telling
from nonet.compute.warm import Warm
from nonet.engines.adapter_files import CONFIG, WEIGHTS
from nonet.questions.mix import Example, read_examples
from nonet.questions.tokens import prompt_ids, reply_ids
from nonet.runs.plan import PEFT
from nonet.stores.atomic import replace_file

LOSSES = "losses.json"
AVERAGED = 20
"""Steps over which the losses told to people are averaged."""


def carry_out(order: TrainOrder, warm: Warm, telling: Telling) -> dict[str, Any]:
    """Train; the result of the order's last event. Raises DrainedError, BadInputError, OSError, ..."""
    examples = read_course(order.adapter)
    steps = order.recipe.steps(len({e.stem for e in examples} if order.recipe.grouped else examples))
    telling.progress("loading", step=0, steps=steps, loss=None, seconds_left=None)
    base, _ = warm.base(order.base, order.device, order.dtype)
    course, cut = course_of(order, order.adapter, examples, base.tokenizer)
    wrapped = fresh_adapter(base.model, order.recipe)
    if base.form is Form.PACKED and order.device != "cpu":
        recompute_activations(base.model)
    try:
        made_by = {"layers": linear_layers(wrapped), "versions": versions()}
        trained = train(wrapped, course, _watch(telling, tokens_by_step(course)))
        if trained.drained:
            raise DrainedError(trained.step)
        wrapped.eval()
        asked = Asked(base.model, order.prompt, base.tokenizer, wrapped.disable_adapter, lambda _: nullcontext())
        canary = recorded(asked, examples, course.lessons)
        _write(wrapped, Path(order.adapter.out), trained.losses, canary)
    finally:
        unwrap(wrapped)
        base.model.gradient_checkpointing_disable()
        base.model.requires_grad_(False).eval()
    return training_result(course, trained, cut, canary) | made_by | {"trainer": PEFT}


def mean_loss(losses: Sequence[tuple[int, float, float]]) -> float:
    """Mean of the last losses, for people: single ones jump about at batch 1."""
    last = [loss for _, loss, _ in losses[-AVERAGED:]]
    return sum(last) / len(last)


def read_course(adapter: AdapterOrder) -> tuple[Example, ...]:
    """The examples of an adapter; raises BadInputError where there are none."""
    examples = read_examples(Path(input_file(adapter.examples, "examples")))
    if not examples:
        raise BadInputError(f"{adapter.examples}: no examples to train on")
    return examples


def course_of(
    order: TrainOrder | JointOrder, adapter: AdapterOrder, examples: Sequence[Example], tokenizer: Any
) -> tuple[Course, int]:
    """The examples in tokens, as a training; and how many had their stem cut. Raises BadInputError with the question's
    id.
    """
    lessons, cut = _lessons(order, adapter, examples, tokenizer)
    return Course(lessons, order.recipe, Path(adapter.checkpoint), _identity(order, examples)), cut


def _lessons(
    order: TrainOrder | JointOrder, adapter: AdapterOrder, examples: Sequence[Example], tokenizer: Any
) -> tuple[tuple[Lesson, ...], int]:
    lessons, cut = [], 0
    for example in examples:
        try:
            encoded = prompt_ids(
                tokenizer, order.prompt, example.stem, example.question, example.options, order.recipe.max_length
            )
        except ValueError as error:
            raise BadInputError(f"{adapter.examples}: {example.question_id}: {error}") from None
        lessons.append(Lesson(encoded.ids, reply_ids(tokenizer, order.prompt, example.letter), example.stem))
        cut += encoded.cut > 0
    return tuple(lessons), cut


def _identity(order: TrainOrder | JointOrder, examples: Sequence[Example]) -> str:
    """Which training a checkpoint is of: base, examples as the base sees them, prompt and recipe; no paths.

    How often checkpoints are written changes no result, so it is left out.
    """
    rows = [[e.stem, e.question, list(e.options), e.letter] for e in examples]
    recipe = {name: value for name, value in order.recipe.to_json().items() if name != "checkpoint_every"}
    inputs = ["nonet checkpoint 1", base_identity(order.base), rows, order.prompt.to_json(), recipe]
    return hashlib.sha256(json.dumps(inputs, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def tokens_by_step(course: Course) -> tuple[int, ...]:
    """How many tokens, of prompts and replies, the first n steps of the course see, for each n from 0."""
    seen = [0]
    for _, lessons in lessons_by_step(course):
        seen.append(seen[-1] + sum(len(lesson.ids) + len(lesson.reply) for lesson in lessons))
    return tuple(seen)


def _watch(telling: Telling, tokens: Sequence[int]) -> Watch:
    def step(done: int, steps: int, losses: Losses, seconds_left: float) -> None:
        telling.progress(
            "training",
            last=done == steps,
            step=done,
            steps=steps,
            loss=round(mean_loss(losses), 4),
            seconds_left=round(seconds_left, 1),
            tokens=tokens[done],
        )

    return Watch(
        step=step,
        saved=lambda at: telling.event("checkpoint", step=at),
        resumed=lambda at: telling.event("resumed", step=at),
        stop=telling.stop,
    )


def _write(wrapped: Any, out: Path, losses: Losses, canary: Canary) -> None:
    from peft import get_peft_model_state_dict

    weights = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    write_adapter(weights, wrapped.peft_config["default"].to_dict(), out, losses, canary)


def write_adapter(
    weights: Mapping[str, Any], config: Mapping[str, Any], out: Path, losses: Losses, canary: Canary
) -> None:
    """Write an adapter in peft's format, without anything of this machine in it: `weights` by peft's file names, and
    what peft says of its configuration; its losses and its canary beside them. Raises OSError.
    """
    from safetensors.torch import save

    told = {
        **config,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "target_modules": sorted(config["target_modules"]),
    }
    plain = {name: tensor.detach().float().cpu().contiguous() for name, tensor in sorted(weights.items())}
    replace_file(out / WEIGHTS, save(plain, metadata={"format": "pt"}))
    replace_file(out / CONFIG, _json_bytes(told, indent=1))
    replace_file(out / LOSSES, _json_bytes(losses))
    replace_file(out / CANARY, canary_bytes(canary))


def _json_bytes(value: Any, indent: int | None = None) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=indent, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    """Sets in order: peft's configuration holds some, and their own order differs from process to process."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{value!r} has no place in an adapter's configuration")


def training_result(course: Course, trained: Trained, cut: int, canary: Canary) -> dict[str, Any]:
    """What is told of a training that is done."""
    return {
        "steps": trained.step,
        "examples": len(course.lessons),
        "cut": cut,
        "final_loss": mean_loss(trained.losses),
        "seconds": round(trained.seconds, 3),
        "peak_memory_bytes": peak_memory(),
        "resumed_from": trained.resumed_from,
        "canary_effect": round(effect(canary), 4),
    }
