"""The order "train": from a file of examples to an adapter's folder. Knows files and events; the loop is training's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nonet.atomic import replace_file
from nonet.base import Form, base_identity
from nonet.canary import CANARY, canary_bytes, effect
from nonet.checkpoint import Losses
from nonet.compute.canary import recorded
from nonet.compute.failure import BadInputError, input_file
from nonet.compute.orders import TrainOrder
from nonet.compute.peak import peak_memory
from nonet.compute.telling import DrainedError, Telling
from nonet.compute.warm import Warm
from nonet.engines.adapter_files import CONFIG, WEIGHTS
from nonet.mix import Example, read_examples
from nonet.stack import linear_layers, unwrap, versions
from nonet.tokens import prompt_ids, reply_ids
from nonet.training import Course, Lesson, Trained, Watch, fresh_adapter, lessons_by_step, recompute_activations, train

LOSSES = "losses.json"
AVERAGED = 20
"""Steps over which the losses told to people are averaged."""


def carry_out(order: TrainOrder, warm: Warm, telling: Telling) -> dict[str, Any]:
    """Train; the result of the order's last event. Raises DrainedError, BadInputError, OSError, ..."""
    examples = _examples(order)
    steps = order.recipe.steps(len(examples))
    telling.progress("loading", step=0, steps=steps, loss=None, seconds_left=None)
    base, _ = warm.base(order.base, order.device, order.dtype)
    lessons, cut = _lessons(order, examples, base.tokenizer)
    course = Course(lessons, order.recipe, Path(order.checkpoint), _identity(order, examples))
    wrapped = fresh_adapter(base.model, order.recipe)
    if base.form is Form.PACKED and order.device != "cpu":
        recompute_activations(base.model)
    try:
        made_by = {"layers": linear_layers(wrapped), "versions": versions()}
        trained = train(wrapped, course, _watch(telling, tokens_by_step(course)))
        if trained.drained:
            raise DrainedError(trained.step)
        canary = recorded(wrapped, examples, lessons, order.prompt, base.tokenizer, order.device)
        replace_file(Path(order.out) / CANARY, canary_bytes(canary))
        _write_adapter(wrapped, Path(order.out), trained.losses)
    finally:
        unwrap(wrapped)
        base.model.gradient_checkpointing_disable()
        base.model.requires_grad_(False).eval()
    return _result(course, trained, cut) | made_by | {"canary_effect": round(effect(canary), 4)}


def mean_loss(losses: Sequence[tuple[int, float, float]]) -> float:
    """Mean of the last losses, for people: single ones jump about at batch 1."""
    last = [loss for _, loss, _ in losses[-AVERAGED:]]
    return sum(last) / len(last)


def _examples(order: TrainOrder) -> tuple[Example, ...]:
    examples = read_examples(Path(input_file(order.examples, "examples")))
    if not examples:
        raise BadInputError(f"{order.examples}: no examples to train on")
    return examples


def _lessons(order: TrainOrder, examples: Sequence[Example], tokenizer: Any) -> tuple[tuple[Lesson, ...], int]:
    """The examples in tokens, and how many had their stem cut; raises ValueError with the question's id."""
    lessons, cut = [], 0
    for example in examples:
        try:
            encoded = prompt_ids(
                tokenizer, order.prompt, example.stem, example.question, example.options, order.recipe.max_length
            )
        except ValueError as error:
            raise BadInputError(f"{order.examples}: {example.question_id}: {error}") from None
        lessons.append(Lesson(encoded.ids, reply_ids(tokenizer, order.prompt, example.letter), example.stem))
        cut += encoded.cut > 0
    return tuple(lessons), cut


def _identity(order: TrainOrder, examples: Sequence[Example]) -> str:
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


def _write_adapter(wrapped: Any, out: Path, losses: Losses) -> None:
    """Write the adapter in peft's format, without anything of this machine in it; raises OSError."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    weights = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    weights = {name: tensor.detach().float().cpu().contiguous() for name, tensor in sorted(weights.items())}
    config = wrapped.peft_config["default"].to_dict()
    config |= {
        "base_model_name_or_path": None,
        "inference_mode": True,
        "target_modules": sorted(config["target_modules"]),
    }
    replace_file(out / WEIGHTS, save(weights, metadata={"format": "pt"}))
    replace_file(out / CONFIG, _json_bytes(config, indent=1))
    replace_file(out / LOSSES, _json_bytes(losses))


def _json_bytes(value: Any, indent: int | None = None) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=indent, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    """Sets in order: peft's configuration holds some, and their own order differs from process to process."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{value!r} has no place in an adapter's configuration")


def _result(course: Course, trained: Trained, cut: int) -> dict[str, Any]:
    return {
        "steps": trained.step,
        "examples": len(course.lessons),
        "cut": cut,
        "final_loss": mean_loss(trained.losses),
        "seconds": round(trained.seconds, 3),
        "peak_memory_bytes": peak_memory(),
        "resumed_from": trained.resumed_from,
    }
