"""Joint training: several LoRA adapters at once over one frozen base, each to what a training by itself makes of it.

Knows the loop: who sits in which slot of the bank, and every adapter's own optimizer state, schedule, order of
examples, clipping, dropout stream and checkpoints, which are those of `nonet.adapters.training` in all of it. An
adapter that is done leaves its slot to the next one that waits. Knows no tokenizer and no files but the checkpoints.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from nonet.adapters.adam import Adam
from nonet.adapters.checkpoint import Losses, latest_checkpoint, remove_leftovers
from nonet.adapters.joint_step import StepStoppedError, Turn, backward
from nonet.adapters.lora import LoraBank, LoraShape, Span, fresh_weights
from nonet.adapters.training import (
    CLIP,
    Course,
    Lesson,
    Trained,
    deterministic,
    finite,
    learning_rate,
    lessons_by_step,
    restore,
    save,
    step_seed,
)
from nonet.bases.lean_layers import lean_on_gpu

BUDGET = 4096
"""Tokens, with padding, that go through the base at once where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Learned:
    """An adapter that is done: its `weights` by peft's file names; in a block of `worn(tokens)` the base, which is in
    evaluation mode, answers inputs of so many tokens with it, outside of one without any.
    """

    weights: Mapping[str, Any]
    worn: Callable[[int], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class JointWatch:
    """What a joint training tells and asks; the first argument is the number of the course.

    `step(number, step, steps, losses, seconds_left)` after each step, `saved(number, step)`, `resumed(number, step)`;
    `done(number, trained, learned)` as soon as an adapter is done; `failed(number, error)` where one diverged, while
    the others go on; `stop()`, True when all are to write a checkpoint and end.
    """

    step: Callable[[int, int, int, Losses, float], None]
    saved: Callable[[int, int], None]
    resumed: Callable[[int, int], None]
    done: Callable[[int, Trained, Learned], None]
    failed: Callable[[int, ArithmeticError], None]
    stop: Callable[[], bool]


def train_jointly(
    model: Any,
    courses: Sequence[Course],
    watch: JointWatch,
    *,
    slots: int | None = None,
    budget: int = BUDGET,
    together: bool | None = None,
) -> tuple[Trained | None, ...]:
    """Train an adapter for each of `courses` over `model`, `slots` of them at a time (None: all), each from the newest
    sound checkpoint of its course; returns how each ended, None where it failed.

    `model` is the base, frozen and without adapters, and is so again afterwards. At most `budget` tokens are computed
    at once: it bounds memory, and changes nothing but roundings; nor does `together` (see nonet.adapters.joint_step).
    Raises ValueError for courses whose adapters have not one shape, or a base without their targets; what fails on the
    way (memory runs out) is raised when every adapter has its checkpoint.
    """
    if not courses:
        return ()
    shapes = {LoraShape.of(course.recipe) for course in courses}
    if len(shapes) > 1:
        raise ValueError(f"adapters of {len(shapes)} shapes cannot be trained together: {sorted(map(str, shapes))}")
    deterministic()
    bank = LoraBank(model, shapes.pop(), min(slots or len(courses), len(courses)))
    ended: list[Trained | None] = [None] * len(courses)
    waiting = deque(enumerate(courses))
    seated: dict[int, _Pupil] = {}
    with bank.worn(), lean_on_gpu(model), _mode(model, training=True):
        while (seated or waiting) and not watch.stop():
            for slot in range(bank.slots):
                if slot not in seated and waiting:
                    seated[slot] = _Pupil.begin(bank, slot, *waiting.popleft(), watch)
            pupils = list(seated.values())
            try:
                losses = backward(model, bank, [pupil.turn(bank) for pupil in pupils], budget, together, watch.stop)
            except StepStoppedError:
                break
            except Exception:
                for pupil in pupils:  # nothing of this step is in their weights yet
                    pupil.save(watch)
                raise
            for pupil in _advance(bank, pupils, losses, watch):
                del seated[pupil.slot]
                if pupil.done:
                    ended[pupil.number] = pupil.ended()
                    with _mode(model, training=False):
                        watch.done(pupil.number, pupil.ended(), _learned(bank, pupil.slot))
    for pupil in seated.values():
        pupil.save(watch)
        ended[pupil.number] = pupil.ended()
    for number, _ in waiting:
        ended[number] = Trained(0, (), True, None, 0.0)
    return tuple(ended)


@dataclass(slots=True)
class _Pupil:
    """One adapter in its slot: where its training stands."""

    number: int
    course: Course
    slot: int
    weights: Mapping[str, Any]
    optimizer: Adam
    ahead: Iterator[tuple[int, list[Lesson]]]
    steps: int
    losses: list[tuple[int, float, float]]
    resumed_from: int | None
    saved: int
    started: float
    begun: float

    @classmethod
    def begin(cls, bank: LoraBank, slot: int, number: int, course: Course, watch: JointWatch) -> _Pupil:
        """Put the adapter of a course into `slot`, as it begins or as its checkpoint has it."""

        recipe, started = course.recipe, time.monotonic()
        drawn = fresh_weights(bank.modules, recipe.rank, recipe.seed)
        bank.fill(slot, drawn, scale=recipe.alpha / recipe.rank)
        weights = bank.parameters(slot)
        optimizer = Adam(weights)
        remove_leftovers(course.directory)
        found = latest_checkpoint(course.directory, course.identity)
        if found is not None:
            restore(found, weights, optimizer)
            watch.resumed(number, found.step)
        first = found.step if found is not None else 0
        return cls(
            number=number,
            course=course,
            slot=slot,
            weights=weights,
            optimizer=optimizer,
            ahead=lessons_by_step(course, first),
            steps=course.steps,
            losses=list(found.losses) if found is not None else [],
            resumed_from=found.step if found is not None else None,
            saved=first,
            started=started,
            begun=time.monotonic(),
        )

    @property
    def step(self) -> int:
        """Steps done."""
        return self.losses[-1][0] if self.losses else 0

    @property
    def done(self) -> bool:
        return self.step == self.steps

    def turn(self, bank: LoraBank) -> Turn:
        """What it learns next; seeds its dropout for that."""
        recipe = self.course.recipe
        step, lessons = next(self.ahead)
        if recipe.dropout:
            bank.seed_dropout(self.slot, step_seed(recipe.seed, step))
        return Turn(self.slot, tuple(lessons), recipe.grouped)

    def advance(self, loss: float) -> None:
        """One step of its optimizer after a backward; raises ArithmeticError where it diverged."""

        rate = learning_rate(self.course.recipe, self.step, self.steps)
        finite(loss)
        finite(
            float(self.optimizer.clip(CLIP))
        )  # one that is not would make weights that spoil the base's other tokens
        self.optimizer.step(rate)
        self.losses.append((self.step + 1, loss, rate))

    def tell(self, watch: JointWatch) -> None:
        pace = (time.monotonic() - self.begun) / (self.step - (self.resumed_from or 0))
        watch.step(self.number, self.step, self.steps, tuple(self.losses[-20:]), pace * (self.steps - self.step))
        if self.step % self.course.recipe.checkpoint_every == 0 and self.step < self.steps:
            self.save(watch)

    def save(self, watch: JointWatch) -> None:
        """Write a checkpoint, where there is anything new."""
        if self.step > self.saved:
            save(self.course, self.step, self.weights, self.optimizer, self.losses)
            self.saved = self.step
            watch.saved(self.number, self.step)

    def ended(self) -> Trained:
        drained = self.step < self.steps
        return Trained(self.step, tuple(self.losses), drained, self.resumed_from, time.monotonic() - self.started)


@contextmanager
def _mode(model: Any, *, training: bool) -> Iterator[None]:
    """The model in training or in evaluation mode for this block, and in the other one after it."""
    model.train(training)
    try:
        yield
    finally:
        model.train(not training)


def _learned(bank: LoraBank, slot: int) -> Learned:
    bank.end_dropout(slot)
    return Learned(bank.weights(slot), lambda tokens: bank.routed([Span(slot, 0, tokens)]))


def _advance(bank: LoraBank, pupils: Sequence[_Pupil], losses: Sequence[float], watch: JointWatch) -> list[_Pupil]:
    """A step of every optimizer; returns those who leave: who are done, and who diverged."""
    leaving = []
    bank.bind_gradients()
    for pupil, loss in zip(pupils, losses, strict=True):
        try:
            pupil.advance(loss)
        except ArithmeticError as error:
            watch.failed(pupil.number, error)
            leaving.append(pupil)
            continue
        pupil.tell(watch)
        if pupil.done:
            leaving.append(pupil)
    bank.clear_gradients()
    return leaving
