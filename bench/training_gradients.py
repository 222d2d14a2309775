"""Whether the joint step of bench/training.py has the gradients that PEFT and transformers have by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.random_model import Layers
from bench.training_arms import Case, Ground, fast, filled_bank, row_of, settle, wrapped_model
from nonet.adapters.joint_step import Turn, backward
from nonet.adapters.training import Lesson
from nonet.bases.stack import unwrap


def apart(ground: Ground, case: Case, layers: Layers, *, grouped: bool, checked: int = 2) -> tuple[float, float]:
    """How far gradients of the joint step are from those of PEFT alone over `layers` with transformers' own loss, of
    the first `checked` adapters: largest relative difference of a loss, and of a gradient as a whole (Frobenius norm).
    """
    model, count = ground.model, case.questions if grouped else 1
    lessons = [case.lessons(1, ground.vocabulary, own)[:count] for own in range(case.adapters)]
    bank = filled_bank(ground, case.adapters)
    with ground.over(ground.own), bank.worn(), fast(ground):
        losses = backward(model, bank, [Turn(own, each, grouped) for own, each in enumerate(lessons)], ground.tokens)
    found: list[tuple[float, float]] = []
    with ground.over(layers):
        for own in range(min(checked, case.adapters)):
            windows = bank.parameters(own)
            wrapped = wrapped_model(model)
            try:
                loss, gradients = _alone(wrapped, windows, lessons[own], ground.device)
            finally:
                unwrap(wrapped)
            off = sum(float((gradients[name] - window.grad).double().pow(2).sum()) for name, window in windows.items())
            size = sum(float(gradient.double().pow(2).sum()) for gradient in gradients.values())
            found.append((abs(losses[own] / loss - 1), (off / size) ** 0.5))
    del bank
    settle(ground)
    return max(loss for loss, _ in found), max(gradient for _, gradient in found)


def _alone(
    wrapped: Any, weights: Mapping[str, Any], lessons: Sequence[Lesson], device: str
) -> tuple[float, dict[str, Any]]:
    """Loss, and gradients by name, of one adapter of these weights by PEFT and transformers alone."""
    import torch

    named = dict(wrapped.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            named[name].copy_(weight)
    rows = [row_of(lesson, 0) for lesson in lessons]
    loss = wrapped(**{name: torch.stack([row[name] for row in rows]).to(device) for name in rows[0]}).loss
    loss.backward()
    return float(loss.detach()), {name: named[name].grad for name in weights}
