"""The training task: adapters of one run, by key. Unpacks the plan, has them trained, commits each by itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Task

from nonet.limits.fit import TRAIN
from nonet.runs.attempt import ErrorClass
from nonet.runs.plan import ADAPTERS, JOINT, Plan, PlannedAdapter, PlannedBase
from nonet.stores.storage import DamagedInputError
from tasks.claim import Claim, Unit, claimed
from tasks.context import TaskContext, context_of
from tasks.fitness import able_or_rest, plan_or_rest
from tasks.port import Event
from tasks.progress import Progress

GONE = (
    "this adapter was imported ({origin}), and its files are gone or damaged; submit the batch again where they are, "
    "or `nonet import` them, then `nonet rerun`"
)
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
            imported = plan.adapter(unit.key).imported
            if imported is not None:
                claim.fail(unit, ErrorClass.BAD_INPUT, GONE.format(origin=imported.origin))
        for base in plan.bases:
            held = [plan.adapter(unit.key) for unit in claim.open_units()]
            of_base = [adapter for adapter in held if adapter.base == base.name]
            if base.trainer == JOINT and of_base:
                _train_jointly(self, context, claim, plan, base, of_base)
            else:
                for adapter in of_base:
                    _train_one(self, context, claim, plan, base, adapter)
    return claim.receipt()


@dataclass(frozen=True, slots=True)
class _Making:
    """An adapter on its way: the examples it is trained on, and where its checkpoints and its files go."""

    adapter: PlannedAdapter
    unit: Unit
    examples: Path
    checkpoint: Path
    folder: Path

    @property
    def told(self) -> dict[str, str]:
        """What an order says of it."""
        return {"examples": str(self.examples), "checkpoint": str(self.checkpoint), "out": str(self.folder)}


def _making(context: TaskContext, claim: Claim, adapter: PlannedAdapter) -> _Making:
    """Raises DamagedInputError for damaged examples, before hours of work on them."""
    unit, checkpoint = claim.units[adapter.key], context.home.checkpoint(adapter.key)
    examples = context.storage.input_path(adapter.input)
    context.home.store.fetch_folder(checkpoint)
    return _Making(adapter, unit, examples, checkpoint, claim.staging(unit))


def _train_one(
    task: Task, context: TaskContext, claim: Claim, plan: Plan, base: PlannedBase, adapter: PlannedAdapter
) -> None:
    making = _making(context, claim, adapter)
    progress = Progress(task, context, [adapter.key])
    order = {"op": "train", "id": adapter.key, **making.told, **_shared(context, plan, base)}

    def on_event(event: Event) -> None:
        if event["event"] == "progress":
            progress.report(event)
        elif event["event"] == "checkpoint":
            _share(context, making.checkpoint)

    with _cleared_up(context, claim, [making]):
        _commit(context, claim, base, making, _execute(context, claim, base, order, on_event))


def _train_jointly(
    task: Task, context: TaskContext, claim: Claim, plan: Plan, base: PlannedBase, adapters: Sequence[PlannedAdapter]
) -> None:
    """All of `adapters` by one order; each is committed as soon as it is trained, or fails by itself."""
    makings = {making.adapter.key: making for making in _sound(context, claim, adapters)}
    if not makings:
        return
    progress = Progress(task, context, makings)
    told = [{"name": key, **making.told} for key, making in makings.items()]
    order = {"op": "train_jointly", "id": told[0]["name"], "adapters": told, **_shared(context, plan, base)}

    def on_event(event: Event) -> None:
        kind = event["event"]
        if kind == "progress":
            progress.report(event)
        elif kind == "checkpoint":
            _share(context, makings[event["adapter"]].checkpoint)
        elif kind == "trained":
            progress.end(event["adapter"])
            _commit(context, claim, base, makings[event["adapter"]], event["result"])
        elif kind == "failed":
            progress.end(event["adapter"])
            claim.fail(makings[event["adapter"]].unit, ErrorClass(event["error_class"]), event["error"])

    with _cleared_up(context, claim, list(makings.values())):
        _execute(context, claim, base, order, on_event)


def _sound(context: TaskContext, claim: Claim, adapters: Iterable[PlannedAdapter]) -> Iterator[_Making]:
    """The adapters whose examples are as they were at submit; the others are failed."""
    for adapter in adapters:
        try:
            yield _making(context, claim, adapter)
        except DamagedInputError as error:
            claim.fail(claim.units[adapter.key], ErrorClass.BAD_INPUT, str(error))


@contextmanager
def _cleared_up(context: TaskContext, claim: Claim, makings: Sequence[_Making]) -> Iterator[None]:
    """Remove what adapters that are not done have written, where the block fails."""
    try:
        yield
    except Exception:
        for making in makings:
            if making.unit.key in claim.attempts:
                context.home.store.remove_folder(making.folder)
        raise


def _commit(context: TaskContext, claim: Claim, base: PlannedBase, making: _Making, result: Mapping[str, Any]) -> None:
    if claim.commit(making.unit, folder=making.folder, body=_body(base, making.adapter, result)):
        context.home.store.remove_folder(making.checkpoint)


def _execute(
    context: TaskContext, claim: Claim, base: PlannedBase, order: Mapping[str, Any], on_event: Callable[[Event], None]
) -> Mapping[str, Any]:
    return context.compute.execute(
        order, stack=_stack(context, base), log=claim.log, mark=claim.mark, on_event=on_event, poll=claim.poll
    )


def _shared(context: TaskContext, plan: Plan, base: PlannedBase) -> dict[str, Any]:
    """What an order says of all its adapters."""
    return {
        "base": base.model.path,
        "prompt": dict(plan.prompt),
        "recipe": dict(base.recipe),
        "threads": context.settings.threads,
        "device": context.settings.device,
        "dtype": base.dtype,
    }


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
