"""`nonet status`: where a run stands now, for people and as JSON. Changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from cli.exit_codes import OF_PHASE, ExitCode
from cli.left import left_json, left_lines
from cli.options import json_option, run_argument
from cli.screen import RunScreen, console
from cli.session import FleetSeen, Session
from cli.tables import stopped_line
from cli.view import PHASE_STYLES, headline
from nonet.runs.run_score import manifest_of
from scheduler.state import Phase, RunState, UnitState, UnitStatus


@click.command()
@run_argument
@click.option("--all", "every", is_flag=True, help="one line for each run instead")
@json_option
@click.pass_obj
def status(session: Session, run: str | None, every: bool, as_json: bool) -> int:
    """Show where RUN stands: the grid of adapters and shards, attempts, errors.

    Exit codes: 0 complete, 4 blocked by failures, 5 still going, 6 cancelled (with --all: 0).

    \b
    --json prints an object; fields are added to it, never changed:
      schema 1; run, name; phase running|complete|blocked|cancelled
      fleet reachable|full|away|unknown; paused (null, or why nothing new is begun);
      refusals: why workers left its work to others lately, by worker; base {model, revision, digest};
      engine; bases: a list of {name, model, revision, digest, engine}; with several, base and engine are null
      submission {path, exists}
      adapters, cells: a list each, and vote (or null), of
        {name, key, state waiting|ready|queued|running|committed|failed,
         attempts, last (or null), progress (or null)}
        adapters also: questions, steps, leaked, base; cells also: adapter, shard
        last {epoch, host, worker, started, ended, outcome, error_class, error, log}
      counts {adapters, cells}: how many by state
      forecast (null unless it runs) in seconds, null where not known: {seconds, low, high, training, work, workers,
        no_worker_for, unknown, by_worker, one_more_worker, basis, sooner}
      stopped {ballots, of}: ballots not needed, where the run stops when decided and has voted; or null
    """
    if every:
        return _all(session, as_json)
    plan = session.plan(run)
    state, seen = session.state(plan)
    if as_json:
        click.echo(json.dumps(state_json(session, state, seen), ensure_ascii=False, indent=1))
        return OF_PHASE[state.phase]
    screen = console()
    left = tuple(left_lines(session.forecast(state), plan)) if state.phase is Phase.RUNNING else ()
    screen.print(RunScreen(state, seen, left=left))
    short = session.store.shortage(session.settings.reserve)
    if short is not None:
        click.echo(f"paused: {short}")
    if state.phase is Phase.RUNNING:
        for line in session.refusal_lines(plan.run):
            click.echo(line)
    if (stopped := (manifest_of(session.storage, plan) or {}).get("stopped")) is not None:
        click.echo(stopped_line(stopped))
    if session.store.exists(session.home.submission(plan.run, plan.submission)):
        click.echo(f"submission: {session.submission_place(plan)}")
    return OF_PHASE[state.phase]


def state_json(session: Session, state: RunState, seen: FleetSeen) -> dict[str, Any]:
    """The state of a run as `status --json` prints it."""
    plan = state.plan
    written = session.store.exists(session.home.submission(plan.run, plan.submission))
    return {
        "schema": 1,
        "run": plan.run,
        "name": plan.name,
        "phase": state.phase.value,
        "fleet": seen.value,
        "paused": session.store.shortage(session.settings.reserve),
        "refusals": dict(session.refusals(plan.run)) if state.phase is Phase.RUNNING else {},
        "base": plan.bases[0].model.told() if len(plan.bases) == 1 else None,
        "engine": plan.bases[0].engine if len(plan.bases) == 1 else None,
        "bases": [{"name": base.name, **base.model.told(), "engine": base.engine} for base in plan.bases],
        "submission": {"path": session.submission_place(plan), "exists": written},
        "forecast": left_json(session.forecast(state)) if state.phase is Phase.RUNNING else None,
        "counts": {"adapters": _counts(state.adapters), "cells": _counts(state.cells)},
        "stopped": (manifest_of(session.storage, plan) or {}).get("stopped"),
        "adapters": [
            {**_unit_json(unit), "questions": a.questions, "steps": a.steps, "leaked": a.leaked, "base": a.base}
            for unit, a in zip(state.adapters, plan.adapters, strict=True)
        ],
        "cells": [
            {**_unit_json(unit), "adapter": cell.adapter.name, "shard": cell.shard.name}
            for unit, cell in zip(state.cells, plan.cells, strict=True)
        ],
        "vote": _unit_json(state.vote) if state.vote else None,
    }


def _counts(units: Iterable[UnitStatus]) -> dict[str, int]:
    found = Counter(unit.state for unit in units)
    return {possible.value: found[possible] for possible in UnitState}


def _unit_json(unit: UnitStatus) -> dict[str, Any]:
    last = unit.last
    return {
        "name": unit.name,
        "key": unit.key,
        "state": unit.state.value,
        "attempts": unit.attempts,
        "last": None
        if last is None
        else {
            "epoch": last.epoch,
            "host": last.host,
            "worker": last.worker,
            "started": last.started,
            "ended": last.ended,
            "outcome": last.outcome.value if last.outcome else None,
            "error_class": last.error_class.value if last.error_class else None,
            "error": last.error,
            "log": last.log,
        },
        "progress": None if unit.progress is None else dict(unit.progress),
    }


def _all(session: Session, as_json: bool) -> ExitCode:
    states = [session.state(session.plan(run))[0] for run in session.runs()]
    if as_json:
        listed = [{"run": s.plan.run, "name": s.plan.name, "phase": s.phase.value} for s in states]
        click.echo(json.dumps({"schema": 1, "runs": listed}, ensure_ascii=False, indent=1))
        return ExitCode.DONE
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("run", "phase", ""):
        table.add_column(column)
    for state in states:
        table.add_row(state.plan.run, Text(state.phase.value, PHASE_STYLES[state.phase]), headline(state))
    console().print(table if states else "no runs")
    return ExitCode.DONE
