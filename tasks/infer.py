"""The inference task: one shard, a group of adapters. Commits each adapter's ballots as soon as they are complete."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery import Task

from nonet.limits.fit import ANSWER
from nonet.runs.attempt import ErrorClass
from nonet.runs.plan import ADAPTERS, Cell, Plan, PlannedBase, Shard, ballots_scope
from nonet.stores.storage import DamagedError
from tasks.claim import Claim, Unit, claimed
from tasks.context import TaskContext, context_of
from tasks.deciding import stop_rule
from tasks.fitness import able_or_rest, plan_or_rest
from tasks.port import Event
from tasks.progress import Progress

TEXT_SETTINGS = ("samples", "temperature", "token_budget")


def infer(self: Task, run: str, shard: str, keys: list[str]) -> dict[str, str]:
    """Answer `shard` of `run` with the adapters whose cells have `keys`; returns what became of each, by name."""
    context = context_of(self.app)
    plan = plan_or_rest(context, run, keys)
    if plan is None:
        return {}
    wanted = set(keys)
    cells = [c for c in cells_of(plan, plan.shard(shard)) if c.key in wanted]
    units = [Unit(c.scope, c.key, c.name) for c in cells]
    bases = {c.adapter.base: plan.base_of(c.adapter) for c in cells}
    if len(bases) > 1:
        raise ValueError(f"run {run}: one message asks for adapters of {len(bases)} bases; it may ask for those of one")
    for base in bases.values():
        if not able_or_rest(context, plan, keys, base, ANSWER, _stack(context, base)):
            return {}
    with claimed(context, run, units, len(units)) as claim:
        held = {c.adapter.key: c for c in cells if c.key in claim.attempts}
        folders = _adapter_folders(context, claim, held)
        for base in bases.values() if folders else ():
            _answer(self, context, claim, plan, base, plan.shard(shard), held, folders)
    return claim.receipt()


def cells_of(plan: Plan, shard: Shard) -> tuple[Cell, ...]:
    return tuple(Cell(a, shard, plan.cell_key(a, shard), ballots_scope(a.key)) for a in plan.adapters)


def _adapter_folders(context: TaskContext, claim: Claim, held: Mapping[str, Cell]) -> dict[str, str]:
    """Folder of each adapter that is sound; cells of the others are failed, and the scheduler trains those again."""
    folders = {}
    for key, cell in held.items():
        try:
            commit = context.storage.read(ADAPTERS, key)
            if commit is None:
                raise DamagedError(f"adapter {cell.adapter.name} is not committed")
        except DamagedError as error:
            claim.fail(claim.units[cell.key], ErrorClass.STORAGE, str(error))
            continue
        folders[key] = str(context.storage.path(commit.files["adapter_config.json"]).parent)
    return folders


def _answer(
    task: Task,
    context: TaskContext,
    claim: Claim,
    plan: Plan,
    base: PlannedBase,
    shard: Shard,
    held: Mapping[str, Cell],
    folders: Mapping[str, str],
) -> None:
    progress = Progress(task, context, [held[key].key for key in folders])
    rows = context.storage.input_path(plan.inputs[shard.set])
    rule = stop_rule(context.storage, plan, shard, cells_of(plan, shard))

    def on_event(event: Event) -> None:
        if event["event"] == "progress":
            progress.report(event)
        elif event["event"] == "ballots":
            unit = claim.units[held[event["adapter"]].key]
            cost = {name: event[name] for name in ("seconds", "peak_memory_bytes") if name in event}
            claim.commit(unit, body={"ballots": event["ballots"], "shard": shard.name, **cost})
        elif event["event"] == "failed":
            unit = claim.units[held[event["adapter"]].key]
            claim.fail(unit, *_fault(context, event))

    context.compute.execute(
        _order(context, plan, base, shard, rows, folders) | {"decide": rule},
        stack=_stack(context, base),
        log=claim.log,
        mark=claim.mark,
        on_event=on_event,
        poll=claim.poll,
    )


def _fault(context: TaskContext, event: Event) -> tuple[ErrorClass, str]:
    """Why an adapter could not answer: its files were damaged meanwhile (it is trained again), or what it says."""
    try:
        context.storage.read(ADAPTERS, event["adapter"], afresh=True)
    except DamagedError as error:
        return ErrorClass.STORAGE, str(error)
    return ErrorClass(event["error_class"]), event["error"]


def _order(
    context: TaskContext, plan: Plan, base: PlannedBase, shard: Shard, rows: Path, folders: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "op": "infer",
        "id": f"{shard.name}-{shard.digest[:12]}",
        "base": base.model.path,
        "adapters": [{"name": key, "path": path} for key, path in folders.items()],
        "problems": str(rows),
        "start": shard.start,
        "stop": shard.stop,
        "prompt": dict(plan.prompt),
        "engine": base.engine,
        "max_length": base.recipe["max_length"],
        "max_tokens": base.inference["max_tokens"],
        "permutations": base.inference["permutations"],
        "max_loras": len(plan.adapters_of(base)),
        "rank": plan.ranks[base.name],
        "threads": context.settings.threads,
        "device": context.settings.device,
        "dtype": base.dtype,
        **{name: base.inference[name] for name in TEXT_SETTINGS if name in base.inference},
    }


def _stack(context: TaskContext, base: PlannedBase) -> str:
    settings = context.settings
    return base.stacks.infer or (settings.vllm_stack if base.engine == "vllm" else settings.transformers_stack)
