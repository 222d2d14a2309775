"""`nonet plan`, `submit` and `schema`: from a batch file to a run. Knows the order of the steps only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from cli.errors import RefusedError
from cli.estimate import AdapterEstimate, TokenCount, count_examples, count_problems, encoder, estimate
from cli.exit_codes import ExitCode
from cli.fit import Fit, fit_lines, fits, known_workers, refuse_unfit
from cli.left import left_json, left_lines
from cli.options import batch_argument, json_option
from cli.screen import console
from cli.session import Session, waiting_note
from config.batch import Base, Batch, load_batch
from nonet.bases.fingerprint import identify_base
from nonet.bases.hub import cached
from nonet.plural import counted
from nonet.questions.problem import Problem
from nonet.runs.plan import PEFT, Plan, PlannedBase
from nonet.sharing.commit import find_import
from scheduler.imports import planned_imports
from scheduler.plan import Draft, draft
from scheduler.submit import submit as submit_draft


def drafted(session: Session, path: Path) -> tuple[Batch, Draft]:
    """The batch at `path` and what it would be as a run; raises DefectsError, NoBaseError. Bases are fetched where they
    are not here; nothing else is written."""
    with waiting("reading the batch"):
        batch = load_batch(path)
    folder, hub = path.absolute().parent, session.settings.hub
    for base in batch.bases:
        if not base.local and cached(hub, base.model, base.revision) is None:
            click.echo(f"fetching {base.model} from {hub.full_name}", err=True)
    models = [identify_base(base.model, base.revision, folder, base.key, hub) for base in batch.bases]
    first = batch.bases[0]

    def tokens(problem: Problem) -> int:
        encode = encoder(Path(models[0].path), batch.prompt, first.recipe.max_length)
        with _too_long_refused(batch, first):
            return count_problems(encode, [problem], first.inference.permutations).tokens

    imports = planned_imports(batch, models, lambda key: find_import(session.storage, key))
    return batch, draft(batch, models, session.settings.engine, tokens, imports)


@contextmanager
def _too_long_refused(batch: Batch, base: Base) -> Iterator[None]:
    """Raises RefusedError where a question does not fit."""
    try:
        yield
    except ValueError as error:
        of_base = f" of {base.key}" if base.name else ""
        raise RefusedError(f"{batch.path}: training.max_length{of_base}: {error}", ExitCode.BAD_INPUT) from error


def waiting(what: str) -> AbstractContextManager[object]:
    """Says on a terminal what is waited for."""
    screen = console(stderr=True)
    return screen.status(what) if screen.is_terminal else nullcontext()


@click.command()
@batch_argument
@click.option("--no-tokens", is_flag=True, help="do not count tokens: no tokenizer is loaded")
@json_option
@click.pass_obj
def plan(session: Session, batch_file: Path, no_tokens: bool, as_json: bool) -> None:
    """Show what BATCH would train and answer, and what is reused. Queues nothing; a base of a hub that is not here yet
    is fetched.

    Tokens are those of a mix over all epochs, stems cut as in training. "leaked" counts stems that a mix shares
    with the test. Memory is an estimate; a base that no known worker can take is refused with the figures.
    """
    batch, found = drafted(session, batch_file)
    with waiting("counting tokens"):
        tokens, asked = ({}, {}) if no_tokens else _tokens(batch, found.plan)
        adapters = estimate(session.storage, found.plan, tokens)
        workers = known_workers(session)
        fitting = fits(found.plan, workers)
        left = session.forecast(session.state(found.plan)[0])
    if as_json:
        whole = _plan_json(found.plan, adapters, asked) | {"memory": _memory_json(fitting)}
        whole |= {"forecast": left_json(left), "notes": list(_other_prompts(found))}
        click.echo(json.dumps(whole, ensure_ascii=False, indent=1))
    else:
        _print_plan(found.plan, adapters, asked, tuple(fit_lines(fitting, workers, session.settings.device)))
        for line in (*left_lines(left, found.plan), *_other_prompts(found)):
            console().print(line)
    refuse_unfit(fitting, adapters)


def _other_prompts(found: Draft) -> Iterator[str]:
    """A line for each imported adapter whose pack says that it was trained with other words around the questions."""
    for adapter in found.imports:
        told = adapter.told.get("prompt")
        if isinstance(told, dict):
            differing = [name for name, value in found.plan.prompt.items() if told.get(name) != value]
            if differing:
                yield f"prompt     {adapter.origin} was trained with another prompt: {', '.join(differing)}"


def _memory_json(fitting: tuple[Fit, ...]) -> list[dict[str, Any]]:
    return [
        {
            "base": fit.need.base.name,
            "to": fit.need.role,
            "bytes": {
                device: None if (size := fit.need.memory(device)) is None else round(size) for device in ("cpu", "cuda")
            },
            "able": [worker.worker for worker in fit.able],
            "unable": {why.worker: why.reason for why in fit.misfits},
        }
        for fit in fitting
    ]


Asked = Mapping[str, TokenCount]
"""Tokens of answering test and validation with one adapter, by base; empty where they are not counted."""


def _tokens(batch: Batch, plan: Plan) -> tuple[dict[str, TokenCount], Asked]:
    """Tokens by adapter, and of the questions; raises RefusedError where a question cannot fit."""
    adapters: dict[str, TokenCount] = {}
    asked: dict[str, TokenCount] = {}
    for base, given in zip(plan.bases, batch.bases, strict=True):
        encode = encoder(Path(base.model.path), batch.prompt, given.recipe.max_length)
        with _too_long_refused(batch, given):
            counted = [count_examples(encode, mix.examples) for mix in batch.mixes.values()]
            asked[base.name] = count_problems(encode, (*batch.validation, *batch.test), given.inference.permutations)
        drawn = [a.name for a in plan.adapters_of(base) if a.imported is None]
        adapters |= dict(zip(drawn, counted, strict=True))
    return adapters, asked


def _print_plan(plan: Plan, adapters: tuple[AdapterEstimate, ...], asked: Asked, fit: tuple[str, ...]) -> None:
    screen = console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("adapter", no_wrap=True)
    for name in ("rows", "questions", "tokens", "stems cut", "steps", "leaked"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("sources")
    table.add_column("reused")
    for found in adapters:
        adapter, read = found.adapter, found.tokens
        leaked = Text(str(adapter.leaked), "bold red" if adapter.leaked else "")
        if adapter.imported is not None:
            table.add_row(adapter.name, *["-"] * 6, adapter.learnt_from[0], _reused(found))
            continue
        figures = (f"{read.tokens * found.epochs:,}", str(read.cut)) if read else ("-", "-")
        numbers = (str(adapter.rows), f"{adapter.questions:,}", *figures, f"{adapter.steps:,}")
        table.add_row(adapter.name, *numbers, leaked, ", ".join(adapter.sources), _reused(found))
    screen.print(f"run      {plan.run}")
    for line in _bases(plan):
        screen.print(line)
    for line in fit:
        screen.print(line)
    sets = ", ".join(
        f"{len(shards)} of {name}"
        for name in ("validation", "test")
        if (shards := [s for s in plan.shards if s.set == name])
    )
    cut = ", cut by tokens" if plan.bases[0].inference["shard_size"] is None else ""
    screen.print(f"shards   {sets}{cut}; {counted(sum(s.questions for s in plan.shards), 'question')} for each adapter")
    screen.print()
    screen.print(table)
    screen.print()
    for line in _totals(plan, adapters, asked):
        screen.print(line)


def _bases(plan: Plan) -> Iterator[str]:
    width = max(len(base.name) for base in plan.bases)
    for base in plan.bases:
        name = f"{base.name:{width}}  " if width else ""
        at = f"@{base.model.revision[:12]}" if base.model.revision else ""
        yield f"base     {name}{base.model.model}{at}  {base.model.digest[:12]}"
    for base in plan.bases:
        name = f"{base.name:{width}}  " if width else ""
        told = [f"trainer: {base.trainer}"] if base.trainer != PEFT else []
        told += ["grouped steps"] if base.recipe.get("grouped") else []
        told += [
            f"{role} with {stack}"
            for role, stack in (("trains", base.stacks.train), ("answers", base.stacks.infer))
            if stack
        ]
        yield ", ".join([f"engine   {name}{base.engine}", f"answer: {base.inference['answer']}", *told])


def _reused(found: AdapterEstimate) -> str:
    if not found.trained and not found.answered:
        return "nothing"
    return f"{'the adapter, ' if found.trained else ''}{found.answered} of {counted(found.shards, 'shard')}"


def _totals(plan: Plan, adapters: tuple[AdapterEstimate, ...], asked: Asked) -> list[str]:
    todo = [found for found in adapters if not found.trained]
    cells = sum(found.shards - found.answered for found in adapters)
    steps = sum(found.adapter.steps for found in todo)
    tokens = sum(found.tokens.tokens * found.epochs for found in todo if found.tokens)
    read = f", {tokens:,} tokens" if asked else ""
    lines = [f"to train   {len(todo)} of {counted(len(adapters), 'adapter')}, {counted(steps, 'step')}{read}"]
    lines.append(f"to answer  {cells:,} of {counted(len(plan.cells), 'cell')}")
    orders = plan.bases[0].inference["permutations"]
    if orders > 1:
        questions = sum(shard.questions for shard in plan.shards)
        first = asked.get(plan.bases[0].name)
        cost = f", {first.prompts / questions:.3g} times the prompts of one" if first and questions else ""
        lines.append(f"orders     every question in {orders} orders of its options, at most all{cost}")
    for base in plan.bases if asked else ():
        found = asked[base.name]
        over = f" over {base.name}" if base.name else ""
        lines.append(
            f"prompts    {found.prompts:,} for each adapter{over}, {found.tokens:,} tokens; "
            f"{counted(found.cut, 'stem')} cut at {base.recipe['max_length']}, the longest prompt has {found.longest}"
        )
        if base.inference["answer"] == "text":
            lines.append(_replies(base, found.prompts))
    if plan.stop_when_decided:
        lines.append("stops      when decided: of the test's prompts some are not asked (docs/inference.md)")
    return lines


def _replies(base: PlannedBase, prompts: int) -> str:
    """How much one adapter writes at most."""
    samples, most = base.inference.get("samples", 1), base.inference["max_tokens"]
    budget = base.inference.get("token_budget")
    each = samples * most if budget is None else min(samples * most, budget)
    over = f" over {base.name}" if base.name else ""
    return f"replies    {samples * prompts:,} for each adapter{over}, {each * prompts:,} tokens at most"


def _plan_json(plan: Plan, adapters: tuple[AdapterEstimate, ...], asked: Asked) -> dict[str, Any]:
    def counted(tokens: TokenCount | None, epochs: int = 1) -> dict[str, Any] | None:
        if tokens is None:
            return None
        counts = {"prompts": tokens.prompts, "cut_stems": tokens.cut, "longest": tokens.longest}
        return {"total": tokens.tokens * epochs, **counts}

    only = plan.bases[0] if len(plan.bases) == 1 else None
    return {
        "schema": 1,
        "run": plan.run,
        "name": plan.name,
        "base": only.model.told() if only else None,
        "engine": only.engine if only else None,
        "bases": [
            {
                "name": base.name,
                **base.model.told(),
                "engine": base.engine,
                "stacks": {"train": base.stacks.train, "infer": base.stacks.infer},
                "trainer": base.trainer,
                "answering": counted(asked.get(base.name)),
            }
            for base in plan.bases
        ],
        "shards": [{"name": s.name, "set": s.set.value, "questions": s.questions} for s in plan.shards],
        "adapters": [
            {
                "name": found.adapter.name,
                "key": found.adapter.key,
                "base": found.adapter.base,
                "sources": list(found.adapter.sources),
                "imported": found.adapter.imported.origin if found.adapter.imported else None,
                "rows": found.adapter.rows,
                "questions": found.adapter.questions,
                "steps": found.adapter.steps,
                "leaked": found.adapter.leaked,
                "tokens": counted(found.tokens, found.epochs),
                "reused": {"adapter": found.trained, "shards": found.answered},
            }
            for found in adapters
        ],
        "answering": counted(asked.get(only.name)) if only else None,
        "to_do": {
            "adapters": sum(not found.trained for found in adapters),
            "steps": sum(found.adapter.steps for found in adapters if not found.trained),
            "cells": sum(found.shards - found.answered for found in adapters),
        },
    }


@click.command()
@batch_argument
@click.option("--watch", "follow", is_flag=True, help="follow the run until it ends")
@click.option("--anyway", is_flag=True, help="queue it although no worker that is known here can do all of it")
@click.pass_obj
def submit(session: Session, batch_file: Path, follow: bool, anyway: bool) -> int:
    """Queue BATCH: check all of it, then make it a run. The same batch again is the same run.

    With --watch the exit code is that of `nonet watch`.
    """
    from cli.watch import watch_run

    plan, created = submitted(session, batch_file, anyway=anyway)
    seen, run = session.wake(), plan.run
    click.echo(f"{run}: {'submitted' if created else 'known already, it goes on from where it stands'}")
    note = waiting_note(seen)
    if note:
        click.echo(note, err=True)
    if follow:
        return watch_run(session, plan)
    click.echo(f"follow it with: nonet watch {run}")
    return ExitCode.DONE


def submitted(session: Session, path: Path, *, anyway: bool = False) -> tuple[Plan, bool]:
    """Make the batch at `path` a run, once all of it is checked; its plan, and whether it was none before.

    `anyway`: although no known worker can do all of it. Raises DefectsError, NoBaseError, RefusedError, OSError.
    """
    batch, found = drafted(session, path)
    if not session.store.exists(session.home.plan(found.plan.run)):
        _tokens(batch, found.plan)  # refuses a question that cannot fit
    if not anyway:
        refuse_unfit(fits(found.plan, known_workers(session)), estimate(session.storage, found.plan, {}))
    return found.plan, submit_draft(session.storage, found, batch.text)


@click.command()
def schema() -> None:
    """Print the JSON Schema of the batch file.

    Editors with a YAML language server read it from a first line `# yaml-language-server: $schema=FILE`.
    """
    from config.batch_schema import json_schema

    click.echo(json.dumps(json_schema(), ensure_ascii=False, indent=2))
