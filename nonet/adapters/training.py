"""Training: one LoRA adapter over a frozen base, to the byte the same each time, killed and resumed or not.

Knows the loop, its order of examples and its checkpoints. Every step is a pure function of the recipe and the number
of the step: order, learning rate and dropout are seeded by them, so a resumed training draws what an unbroken one
draws. Knows no tokenizer and no files but the checkpoints.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonet.adapters.checkpoint import Checkpoint, Losses, latest_checkpoint, remove_leftovers, write_checkpoint
from nonet.adapters.lora import fresh_weights, target_modules
from nonet.adapters.recipe import Recipe
from nonet.bases.stack import lora_config

CLIP = 1.0
"""Norm to which the gradient of a step is clipped."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One example in tokens: the prompt's `ids` and the `reply` that the loss is taken on; its `stem` in words says
    which lessons share one.
    """

    ids: tuple[int, ...]
    reply: tuple[int, ...]
    stem: str = ""


@dataclass(frozen=True, slots=True)
class Course:
    """A training as it stands on disk: `identity` says which training the checkpoints in `directory` are of."""

    lessons: tuple[Lesson, ...]
    recipe: Recipe
    directory: Path
    identity: str

    @property
    def steps(self) -> int:
        return self.recipe.steps(len(units(self.lessons, self.recipe)))


@dataclass(frozen=True, slots=True)
class Trained:
    """Where a training ended: after `step` steps, with `losses` of all of them; `drained` when it was asked to stop
    early (its checkpoint is written); `resumed_from` a step or None; `seconds` in this process.
    """

    step: int
    losses: Losses
    drained: bool
    resumed_from: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Watch:
    """What a training tells and asks: `step(step, steps, losses, seconds_left)` after each step, `saved(step)`,
    `resumed(step)`, and `stop()`, True when it is to write a checkpoint and end.
    """

    step: Callable[[int, int, Losses, float], None]
    saved: Callable[[int], None]
    resumed: Callable[[int], None]
    stop: Callable[[], bool]


def fresh_adapter(model: Any, recipe: Recipe) -> Any:
    """`model` wrapped by peft with a new LoRA adapter, its values drawn from the recipe's seed; in training mode.

    Its first values are `nonet.adapters.lora.fresh_weights`. Undo with `nonet.bases.stack.unwrap`. Raises ValueError
    where the base has none of the recipe's target modules.
    """
    import peft
    import torch

    drawn = fresh_weights(target_modules(model, recipe.targets), recipe.rank, recipe.seed)
    config = lora_config(rank=recipe.rank, alpha=recipe.alpha, dropout=recipe.dropout, targets=recipe.targets)
    wrapped = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if ".lora_A." in name:
                weight.copy_(drawn[name.replace(".default.", ".")])
    wrapped.train()
    return wrapped


def recompute_activations(model: Any) -> None:
    """Keep only the layers' inputs for the backward pass and compute the rest again: the same numbers, a third more
    time. Kernels for packed weights keep a dequantised copy of every weight for it otherwise, all 64 GB of a 32B base.
    """
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def train(wrapped: Any, course: Course, watch: Watch) -> Trained:
    """Train the adapter of `wrapped` (see fresh_adapter) from the newest sound checkpoint of the course to its end."""
    import torch

    deterministic()
    weights = {name: weight for name, weight in wrapped.named_parameters() if weight.requires_grad}
    device = next(iter(weights.values())).device
    recipe, started = course.recipe, time.monotonic()
    optimizer = torch.optim.AdamW(weights.values(), lr=recipe.learning_rate, weight_decay=0.0, fused=True)
    remove_leftovers(course.directory)
    found = latest_checkpoint(course.directory, course.identity)
    losses: list[tuple[int, float, float]] = []
    if found is not None:
        restore(found, weights, optimizer)
        losses.extend(found.losses)
        watch.resumed(found.step)
    first, steps = found.step if found is not None else 0, course.steps
    saved, begun = first, time.monotonic()
    for step, lessons in lessons_by_step(course, first):
        if watch.stop():
            break
        rate = learning_rate(recipe, step, steps)
        torch.manual_seed(step_seed(recipe.seed, step))
        loss = _advance(wrapped, weights, optimizer, rate, lessons, device)
        losses.append((step + 1, loss, rate))
        pace = (time.monotonic() - begun) / (step + 1 - first)
        watch.step(step + 1, steps, tuple(losses[-20:]), pace * (steps - step - 1))
        if (step + 1) % recipe.checkpoint_every == 0 and step + 1 < steps:
            save(course, step + 1, weights, optimizer, losses)
            watch.saved(step + 1)
            saved = step + 1
    at = losses[-1][0] if losses else 0
    drained = at < steps
    if drained and at > saved:
        save(course, at, weights, optimizer, losses)
        watch.saved(at)
    resumed_from = found.step if found is not None else None
    return Trained(at, tuple(losses), drained, resumed_from, time.monotonic() - started)


def deterministic() -> None:
    """Have torch take the algorithms that give the same bytes each time, where it has them."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False


def units(lessons: Sequence[Lesson], recipe: Recipe) -> tuple[tuple[Lesson, ...], ...]:
    """What a step of the recipe takes `batch_size` of: single lessons, or all lessons of a stem where it is grouped."""
    if not recipe.grouped:
        return tuple((lesson,) for lesson in lessons)
    by_stem: dict[str, list[Lesson]] = {}
    for lesson in lessons:
        by_stem.setdefault(lesson.stem, []).append(lesson)
    return tuple(map(tuple, by_stem.values()))


def lessons_by_step(course: Course, first: int = 0) -> Iterator[tuple[int, list[Lesson]]]:
    """(step, its lessons) of a course, from the step `first` on; steps are counted from 0."""
    parts = units(course.lessons, course.recipe)
    step = 0
    for epoch in range(course.recipe.epochs):
        for chosen in batches(len(parts), course.recipe, epoch):
            if step >= first:
                yield step, [lesson for position in chosen for lesson in parts[position]]
            step += 1


def batches(count: int, recipe: Recipe, epoch: int) -> Iterator[tuple[int, ...]]:
    """Positions of the units of each step of an epoch: a shuffle that (seed, epoch) alone decides."""
    order = list(range(count))
    random.Random(f"nonet order {recipe.seed} {epoch}").shuffle(order)
    for start in range(0, count, recipe.batch_size):
        yield tuple(order[start : start + recipe.batch_size])


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The rate of a step, from 0: linear from the recipe's down to 0 after the last, no warm-up."""
    return recipe.learning_rate * (steps - step) / steps


def answer_loss(wrapped: Any, lessons: Sequence[Lesson], device: Any) -> Any:
    """Mean cross-entropy of the reply tokens of a batch, right-padded.

    Equal to the ordinary loss with all other labels ignored, but only the positions before reply tokens go through
    the lm_head: a prompt's other few hundred rows of the vocabulary's width are never made.
    """
    import torch
    from torch.nn.functional import cross_entropy

    rows = [(*lesson.ids, *lesson.reply[:-1]) for lesson in lessons]
    width = max(map(len, rows))
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(width) < lengths[:, None]).long().to(device) if len(rows) > 1 else None
    hidden = hidden_states(wrapped, ids.to(device), mask)
    row_of = [at for at, lesson in enumerate(lessons) for _ in lesson.reply]
    place_of = [len(lesson.ids) - 1 + at for lesson in lessons for at in range(len(lesson.reply))]
    logits = vocabulary_logits(wrapped, hidden[row_of, place_of])
    target = torch.tensor([token for lesson in lessons for token in lesson.reply], device=device)
    return cross_entropy(wide(logits), target)


def wide(numbers: Any) -> Any:
    """`numbers` in float32, or as they are where they are in float64."""
    import torch

    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def hidden_states(model: Any, ids: Any, mask: Any = None) -> Any:
    """Last hidden states [rows, length, width] of a causal model, wrapped by peft or not."""
    return decoder_of(model)(input_ids=ids, attention_mask=mask, use_cache=False)[0]


def decoder_of(model: Any) -> Any:
    """What makes a causal model's hidden states: the model, wrapped by peft or not, without its lm_head."""
    return _causal(model).get_decoder()


def vocabulary_logits(model: Any, hidden: Any) -> Any:
    """Logits [rows, vocabulary] of hidden states [rows, width], as the model itself makes them."""
    import torch

    causal = _causal(model)
    logits = causal.get_output_embeddings()(hidden)
    softcap = getattr(causal.config, "final_logit_softcapping", None)
    return torch.tanh(logits / softcap) * softcap if softcap else logits


def _causal(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _advance(
    wrapped: Any, weights: dict[str, Any], optimizer: Any, rate: float, lessons: Sequence[Lesson], device: Any
) -> float:
    """One step of the optimizer; returns the loss before it. Raises ArithmeticError where the loss is not finite."""
    import torch

    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = answer_loss(wrapped, lessons, device)
    value = finite(float(loss.detach()))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights.values(), CLIP)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return value


def finite(loss: float) -> float:
    """`loss`; raises ArithmeticError where it is no finite number."""
    if not math.isfinite(loss):
        raise ArithmeticError(f"the loss is {loss}: the training diverged; lower training.learning_rate")
    return loss


def step_seed(seed: int, step: int) -> int:
    """What dropout is seeded with in a step."""
    return random.Random(f"nonet step {seed} {step}").getrandbits(63)


def save(
    course: Course, step: int, weights: Mapping[str, Any], optimizer: Any, losses: Sequence[tuple[int, float, float]]
) -> None:
    """Write a checkpoint of a course after `step` steps; `weights` by peft's names for parameters in training, so that
    every trainer goes on from it. Raises OSError.
    """
    tensors = {}
    for name, weight in weights.items():
        state = optimizer.state[weight]
        tensors[f"weight:{name}"] = weight.detach().cpu()
        tensors[f"mean:{name}"] = state["exp_avg"].cpu()
        tensors[f"square:{name}"] = state["exp_avg_sq"].cpu()
    write_checkpoint(course.directory, course.identity, Checkpoint(step, tensors, tuple(losses)))


def restore(found: Checkpoint, weights: Mapping[str, Any], optimizer: Any) -> None:
    """Bring `weights` and `optimizer` to where they were when the checkpoint was written."""
    import torch

    for name, weight in weights.items():
        with torch.no_grad():
            weight.copy_(found.tensors[f"weight:{name}"])
        optimizer.state[weight] = {
            "step": torch.tensor(float(found.step), device=weight.device),
            "exp_avg": found.tensors[f"mean:{name}"].to(weight.device),
            "exp_avg_sq": found.tensors[f"square:{name}"].to(weight.device),
        }
