"""The training task: adapters of one run, by key. Unpacks the plan, has them trained, commits each by itself."""

from __future__ import annotations

import shutil
from typing import Any

from celery import Task

from nonet.plan import ADAPTERS, Plan, PlannedAdapter, PlannedBase
from tasks.claim import Claim, Unit, claimed
from tasks.context import TaskContext, context_of
from tasks.fitness import plan_or_rest
from tasks.progress import Progress


def train(self: Task, run: str, keys: list[str]) -> dict[str, str]:
    """Train the adapters of `run` with `keys`; returns what became of each, by name."""
    context = context_of(self.app)
    plan = plan_or_rest(context, run, keys)
    if plan is None:
        return {}
    adapters = [plan.adapter(key) for key in keys]
    units = [Unit(ADAPTERS, a.key, a.name) for a in adapters]
    with claimed(context, run, units, len(units)) as claim:
        for unit in claim.open_units():
            _train_one(self, context, claim, plan, plan.adapter(unit.key), unit)
    return claim.receipt()


def _train_one(task: Task, context: TaskContext, claim: Claim, plan: Plan, adapter: PlannedAdapter, unit: Unit) -> None:
    base = plan.base_of(adapter)
    progress = Progress(task, context, [unit.key])
    folder = claim.staging(unit)
    context.storage.read_input(adapter.input)  # refuses damaged examples before hours of work on them
    order = {
        "op": "train",
        "id": adapter.key,
        "base": base.model.path,
        "examples": str(context.home.input(adapter.input)),
        "prompt": dict(plan.prompt),
        "recipe": dict(base.recipe),
        "checkpoint": str(context.home.checkpoint(adapter.key)),
        "out": str(folder),
        "threads": context.settings.threads,
        "device": context.settings.device,
        "dtype": base.dtype,
    }
    try:
        result = context.compute.execute(
            order,
            stack=base.stacks.train or context.settings.train_stack,
            log=claim.log,
            on_event=lambda event: progress.report(event) if event["event"] == "progress" else None,
            poll=claim.poll,
        )
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if claim.commit(unit, folder=folder, body=_body(base, adapter, result)):
        shutil.rmtree(context.home.checkpoint(adapter.key), ignore_errors=True)


def _body(base: PlannedBase, adapter: PlannedAdapter, result: Any) -> dict[str, Any]:
    """What the artifact says of itself beside its files: provenance and how the training went."""
    return {
        "base": base.model.told(),
        "input": adapter.input,
        "recipe": dict(base.recipe),
        "training": dict(result),
    }
