"""The training task: adapters of one run, by key. Unpacks the plan, has them trained, commits each by itself."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from celery import Task

from nonet.fit import TRAIN
from nonet.plan import ADAPTERS, Plan, PlannedAdapter, PlannedBase
from tasks.claim import Claim, Unit, claimed
from tasks.context import TaskContext, context_of
from tasks.fitness import able_or_rest, plan_or_rest
from tasks.port import Event
from tasks.progress import Progress

log = logging.getLogger("nonet.train")


def train(self: Task, run: str, keys: list[str]) -> dict[str, str]:
    """Train the adapters of `run` with `keys`; returns what became of each, by name."""
    context = context_of(self.app)
    plan = plan_or_rest(context, run, keys)
    if plan is None:
        return {}
    adapters = [plan.adapter(key) for key in keys]
    for base in {adapter.base: plan.base_of(adapter) for adapter in adapters}.values():
        if not able_or_rest(context, plan, keys, base, TRAIN, _stack(context, base)):
            return {}
    units = [Unit(ADAPTERS, a.key, a.name) for a in adapters]
    with claimed(context, run, units, len(units)) as claim:
        for unit in claim.open_units():
            _train_one(self, context, claim, plan, plan.adapter(unit.key), unit)
    return claim.receipt()


def _train_one(task: Task, context: TaskContext, claim: Claim, plan: Plan, adapter: PlannedAdapter, unit: Unit) -> None:
    base = plan.base_of(adapter)
    progress = Progress(task, context, [unit.key])
    checkpoint, store = context.home.checkpoint(adapter.key), context.home.store
    examples = context.storage.input_path(adapter.input)  # refuses damaged ones before hours of work on them
    store.fetch_folder(checkpoint)
    folder = claim.staging(unit)
    order = {
        "op": "train",
        "id": adapter.key,
        "base": base.model.path,
        "examples": str(examples),
        "prompt": dict(plan.prompt),
        "recipe": dict(base.recipe),
        "checkpoint": str(checkpoint),
        "out": str(folder),
        "threads": context.settings.threads,
        "device": context.settings.device,
        "dtype": base.dtype,
    }

    def on_event(event: Event) -> None:
        if event["event"] == "progress":
            progress.report(event)
        elif event["event"] == "checkpoint":
            _share(context, checkpoint)

    try:
        result = context.compute.execute(
            order,
            stack=_stack(context, base),
            log=claim.log,
            mark=claim.mark,
            on_event=on_event,
            poll=claim.poll,
        )
    except Exception:
        store.remove_folder(folder)
        raise
    if claim.commit(unit, folder=folder, body=_body(base, adapter, result)):
        store.remove_folder(checkpoint)


def _share(context: TaskContext, checkpoint: Path) -> None:
    """Bring checkpoints to where another machine could go on from them; a storage that is away costs no training."""
    try:
        context.home.store.share(checkpoint)
    except OSError as error:
        log.warning("the newest checkpoint is on this machine only: %s", error)


def _stack(context: TaskContext, base: PlannedBase) -> str:
    return base.stacks.train or context.settings.train_stack


def _body(base: PlannedBase, adapter: PlannedAdapter, result: Any) -> dict[str, Any]:
    """What the artifact says of itself beside its files: provenance and how the training went."""
    return {
        "base": base.model.told(),
        "input": adapter.input,
        "recipe": dict(base.recipe),
        "training": dict(result),
    }
