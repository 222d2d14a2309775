"""The arms of bench/training.py: what users do, and Nonet's ways, over one model in memory. Times steps."""

from __future__ import annotations

import gc
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

from bench.matrix_peak import wait
from bench.random_model import Layers, with_layers
from models.make.random_base import Shape
from nonet.adapters.joint import JointWatch, train_jointly
from nonet.adapters.joint_step import backward
from nonet.adapters.lora import LoraBank, LoraShape, Span
from nonet.adapters.recipe import TARGETS, Recipe
from nonet.adapters.training import Course, Lesson, Watch, recompute_activations, train, vocabulary_logits
from nonet.adapters.tree import packs, tree_of
from nonet.adapters.tree_forward import answer_states, inputs_of
from nonet.bases.lean_layers import lean_on_gpu
from nonet.bases.stack import lora_config, unwrap

NEVER = 10**9
IGNORED = -100
"""The label of what no loss is taken on."""
TOKENS = {"cuda": 8192, "cpu": 1024}
"""Tokens that go through the base at once in the joint arms: a CPU is no faster with more."""


@dataclass(frozen=True, slots=True)
class Case:
    """So many adapters, each with problems of so many questions; `stem` and `question` in tokens."""

    adapters: int
    questions: int
    stem: int = 350
    question: int = 60

    @property
    def prompt(self) -> int:
        return self.stem + self.question

    @property
    def tree(self) -> int:
        return self.stem + self.questions * self.question

    def lessons(self, problems: int, vocabulary: int, seed: int) -> tuple[Lesson, ...]:
        """Random problems: every question of one is its stem and tokens of its own, the reply one token."""
        draw = random.Random(f"nonet bench {seed}")

        def tokens(count: int) -> tuple[int, ...]:
            return tuple(draw.randrange(vocabulary) for _ in range(count))

        found: list[Lesson] = []
        for problem in range(problems):
            stem = tokens(self.stem)
            own = (Lesson(stem + tokens(self.question), tokens(1), f"{seed}:{problem}") for _ in range(self.questions))
            found.extend(own)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Ground:
    """What all arms stand on: a frozen `model` of `shape` with packed linears on `device`, in numbers of `dtype`."""

    model: Any
    device: str
    dtype: Any
    shape: Shape

    @property
    def own(self) -> Layers:
        """The layers that Nonet trains over here."""
        return Layers.RESIDENT if self.device == "cpu" else Layers.PACKED

    @property
    def tokens(self) -> int:
        return TOKENS["cpu" if self.device == "cpu" else "cuda"]

    @contextmanager
    def over(self, kind: Layers) -> Iterator[None]:
        with with_layers(self.model, kind, self.device, self.dtype):
            yield

    @property
    def vocabulary(self) -> int:
        return int(self.model.config.vocab_size)


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds of a step, median; `questions` of all adapters and `tokens` through the base in it; `peak` bytes of GPU
    memory, None on a CPU; `inside`, seconds of it in forward and backward, where they were timed apart.
    """

    step: float
    questions: float
    tokens: float
    peak: int | None
    inside: float | None = None

    @property
    def seconds(self) -> float:
        """Per question per adapter."""
        return self.step / self.questions


def stock(
    ground: Ground, case: Case, layers: Layers, *, batch: int, length: int | None, recompute: bool, steps: int
) -> Timed:
    """PEFT by transformers' Trainer, full logits; prompts padded to `length` (None: to the longest)."""
    padded = length or case.prompt
    rows = [
        row_of(lesson, padded) for lesson in case.lessons(-(-batch * steps // case.questions), ground.vocabulary, 0)
    ]
    with ground.over(layers), _measured(ground) as peak:
        wrapped = wrapped_model(ground.model)
        try:
            times = _trainer(wrapped, rows[: batch * steps], batch, recompute, ground.device)
        finally:
            unwrap(wrapped)
            settle(ground)
    return Timed(_median(times), batch, batch * padded, peak())


def one_by_one(ground: Ground, case: Case, layers: Layers, *, batch: int, recompute: bool, steps: int) -> Timed:
    """Nonet's trainer `peft`: answer positions only, one adapter."""
    lessons = case.lessons(-(-batch * steps // case.questions), ground.vocabulary, 0)[: batch * steps]
    recipe = Recipe(epochs=1, batch_size=batch, checkpoint_every=NEVER)
    with ground.over(layers), _measured(ground) as peak, tempfile.TemporaryDirectory() as folder:
        wrapped = wrapped_model(ground.model)
        if recompute:
            recompute_activations(ground.model)
        times: list[float] = []
        watch = Watch(
            step=lambda *_: times.append(_now(ground.device)),
            saved=lambda _: None,
            resumed=lambda _: None,
            stop=lambda: False,
        )
        begun = _now(ground.device)
        try:
            train(wrapped, Course(lessons, recipe, Path(folder), "bench"), watch)
        finally:
            unwrap(wrapped)
            settle(ground)
    return Timed(_median([begun, *times]), batch, batch * case.prompt, peak())


def joint(ground: Ground, case: Case, layers: Layers, *, grouped: bool, recompute: bool, steps: int) -> Timed:
    """All adapters at once by `train_jointly`: one problem of each in a step where `grouped`, else one question."""
    recipe = Recipe(epochs=1, batch_size=1, checkpoint_every=NEVER, grouped=grouped)
    problems = steps if grouped else -(-steps // case.questions)
    count = steps * case.questions if grouped else steps
    times: list[float] = []

    def fail(number: int, error: ArithmeticError) -> None:
        raise error

    watch = JointWatch(
        step=lambda number, *_: times.append(_now(ground.device)) if number == 0 else None,
        saved=lambda *_: None,
        resumed=lambda *_: None,
        done=lambda *_: None,
        failed=fail,
        stop=lambda: False,
    )
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(ground.over(layers))
        peak = stack.enter_context(_measured(ground))
        stack.callback(settle, ground)
        if recompute:
            recompute_activations(ground.model)
        courses = [
            Course(
                case.lessons(problems, ground.vocabulary, own)[:count], recipe, Path(folder, str(own)), f"bench {own}"
            )
            for own in range(case.adapters)
        ]
        inside = stack.enter_context(_timed_backward(ground.device))
        begun = _now(ground.device)
        train_jointly(ground.model, courses, watch, budget=ground.tokens)
    each = case.questions if grouped else 1
    through = case.adapters * (case.tree if grouped else case.prompt)
    within = statistics.median(inside[1:] or inside)
    return Timed(_median([begun, *times]), each * case.adapters, through, peak(), within)


def scoring(ground: Ground, case: Case, layers: Layers, *, steps: int) -> Timed:
    """Tree scoring: one problem by every adapter in a step, answer positions through the output layer only."""
    import torch

    bank = filled_bank(ground, case.adapters)
    times = []
    with ExitStack() as stack:
        stack.enter_context(ground.over(layers))
        peak = stack.enter_context(_measured(ground))
        for each in (bank.worn(), fast(ground), torch.inference_mode()):
            stack.enter_context(each)
        for step in range(steps):
            times.append(_now(ground.device))
            prompts = [[lesson.ids for lesson in case.lessons(1, ground.vocabulary, step)]] * case.adapters
            for pack in packs([tree_of(each) for each in prompts], ground.tokens, range(case.adapters)):
                at = [(owner, row * pack.width, (row + 1) * pack.width) for row, owner in enumerate(pack.owners)]
                with bank.routed([Span(*each) for each in at]):
                    states = answer_states(ground.model, inputs_of(pack, ground.device, ground.dtype))
                    vocabulary_logits(ground.model, states).argmax(-1).tolist()
        times.append(_now(ground.device))
    del bank
    settle(ground)
    return Timed(_median(times), case.adapters * case.questions, case.adapters * case.tree, peak())


def filled_bank(ground: Ground, adapters: int) -> LoraBank:
    """A bank of adapters that are not new: their B is not zero."""
    import torch

    bank = LoraBank(ground.model, LoraShape(8, 0.0, TARGETS), adapters)
    draw = torch.Generator(bank.device).manual_seed(0)
    for slot in range(adapters):
        bank.fill(slot, {}, scale=4.0)
        for name, window in bank.parameters(slot).items():
            size = window.shape[1] ** -0.5 if ".lora_A." in name else 0.01
            window.copy_(torch.randn(window.shape, generator=draw, device=bank.device) * size)
    return bank


def wrapped_model(model: Any) -> Any:
    """`model` wrapped by peft with a new adapter, in training mode; its plain LoRA whatever the linear layers are."""
    import peft
    from peft.tuners.lora import Linear

    recipe = Recipe()
    config = lora_config(rank=recipe.rank, alpha=recipe.alpha, dropout=0.0, targets=recipe.targets)
    kinds = {type(module) for module in model.modules() if hasattr(module, "qweight")}
    config._register_custom_module(dict.fromkeys(kinds, Linear))
    wrapped = peft.get_peft_model(model, config)
    wrapped.train()
    return wrapped


def row_of(lesson: Lesson, length: int) -> dict[str, Any]:
    """One example as the Trainer takes it, padded on the right."""
    import torch

    ids, labels = [*lesson.ids, *lesson.reply], [IGNORED] * len(lesson.ids) + list(lesson.reply)
    beyond = max(0, length - len(ids))
    return {
        "input_ids": torch.tensor(ids + [0] * beyond),
        "attention_mask": torch.tensor([1] * len(ids) + [0] * beyond),
        "labels": torch.tensor(labels + [IGNORED] * beyond),
    }


def _trainer(wrapped: Any, rows: Sequence[Mapping[str, Any]], batch: int, recompute: bool, device: str) -> list[float]:
    """Times at the beginning and after each step of transformers' Trainer."""
    import torch
    import transformers

    torch.use_deterministic_algorithms(False)  # Nonet's trainers switch them on, users do not
    times: list[float] = []

    class Clock(transformers.TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if not times:
                times.append(_now(device))

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(_now(device))

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder,
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            learning_rate=1e-4,
            gradient_checkpointing=recompute,
            gradient_checkpointing_kwargs={"use_reentrant": False} if recompute else None,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            use_cpu=device == "cpu",
        )
        trainer = transformers.Trainer(wrapped, arguments, train_dataset=list(rows), callbacks=[Clock()])
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return times


def _now(device: str) -> float:
    """Seconds: on a CPU those that the process computed in all its threads, since others may use the machine, too."""
    wait(device)
    return time.process_time() if device == "cpu" else time.perf_counter()


def _median(times: Sequence[float]) -> float:
    """Of the steps between `times`, without the first where there are others: it makes what is made once."""
    steps = [after - before for before, after in pairwise(times)]
    return statistics.median(steps[1:] or steps)


@contextmanager
def _timed_backward(device: str) -> Iterator[list[float]]:
    """Yields the seconds that each step of a joint training is in forward and backward; the rest is the optimizers'."""
    seconds: list[float] = []

    def timed(*arguments: Any) -> list[float]:
        begun = _now(device)
        losses = backward(*arguments)
        seconds.append(_now(device) - begun)
        return losses

    with mock.patch("nonet.adapters.joint.backward", timed):
        yield seconds


@contextmanager
def fast(ground: Ground) -> Iterator[None]:
    """The model as a GPU has it: lean layers."""
    with lean_on_gpu(ground.model):
        try:
            yield
        finally:
            settle(ground)


def settle(ground: Ground) -> None:
    """The model frozen and evaluating, without what an arm left."""
    ground.model.gradient_checkpointing_disable()
    ground.model.requires_grad_(False).eval()


@contextmanager
def _measured(ground: Ground) -> Iterator[Callable[[], int | None]]:
    """Yields what tells the most GPU memory that torch had in this block, None on a CPU."""
    import torch

    gc.collect()
    if ground.device == "cpu":
        yield lambda: None
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield torch.cuda.max_memory_allocated
