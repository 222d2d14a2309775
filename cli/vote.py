"""`nonet vote` and `score`: what the ballots at hand come to, without a GPU or a fleet. Changes no artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.options import json_option, run_argument
from cli.screen import console
from cli.session import Session
from cli.tables import results_table, score_table, vote_lines
from nonet.aggregation import Aggregation, aggregate, spec_of
from nonet.atomic import replace_file
from nonet.defect import DefectsError
from nonet.plan import Plan
from nonet.problem import Problem, split_questions
from nonet.results import Results, floor_of, results_of
from nonet.rows import read_problems
from nonet.score import Score, score_rows
from nonet.submission import read_submission
from nonet.vote import MissingBallotsError, VoteSpec


@click.command()
@run_argument
@click.option("--method", type=click.Choice(["majority"]), help="how ballots are counted")
@click.option("--members", type=click.IntRange(min=1), help="how many vote")
@click.option("--select", metavar="HOW", help="validation (the best), all, or names with commas between")
@click.option("--allow-partial/--no-allow-partial", default=None, help="vote although ballots are missing")
@click.option("--quorum", type=click.IntRange(min=1), help="fewest ballots a question of a partial vote")
@json_option
@click.pass_obj
def vote(
    session: Session,
    run: str | None,
    method: str | None,
    members: int | None,
    select: str | None,
    allow_partial: bool | None,
    quorum: int | None,
    as_json: bool,
) -> None:
    """Vote again over the ballots of RUN with other settings; what is not given is as in the batch.

    Needs no GPU and no fleet. The submission goes into a folder of its own under the run's votes; the run's own
    submission stays as it is.
    """
    plan = session.plan(run)
    changes = {"method": method, "members": members, "allow_partial": allow_partial, "quorum": quorum}
    spec = spec_of(plan, **{k: v for k, v in changes.items() if v is not None}, **_selection(plan, select, members))
    result = voted(session, plan, spec)
    folder = session.home.votes(plan.run) / result.key[:12]
    replace_file(folder / plan.submission, result.submission)
    manifest = json.dumps(result.manifest, ensure_ascii=False, indent=1).encode() + b"\n"
    replace_file(folder / f"{plan.submission}.manifest.json", manifest)
    found = results_of(session.storage, plan, result, spec)
    if as_json:
        click.echo(json.dumps(_vote_json(result, found, folder / plan.submission), ensure_ascii=False, indent=1))
        return
    console().print(results_table(found))
    for line in vote_lines(result):
        click.echo(line)
    click.echo(f"submission: {folder / plan.submission}")


def voted(session: Session, plan: Plan, spec: VoteSpec) -> Aggregation:
    """The vote of `plan` under `spec`; raises RefusedError for settings that cannot be, MissingBallotsError."""
    try:
        return aggregate(session.storage, plan, spec)
    except MissingBallotsError:
        raise
    except ValueError as error:
        raise RefusedError(f"{plan.run}: {error}", ExitCode.BAD_INPUT) from error


def _selection(plan: Plan, select: str | None, members: int | None) -> Mapping[str, Any]:
    """The `select` of a VoteSpec; named members set the number of members too, unless that is given."""
    if select is None:
        return {}
    if select in ("validation", "all"):
        return {"select": select}
    names = tuple(name.strip() for name in select.split(",") if name.strip())
    known = [adapter.name for adapter in plan.adapters]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        named = ", ".join(map(repr, unknown)) or repr(select)
        raise RefusedError(f"run {plan.run} has no adapter {named}; it has {', '.join(known)}", ExitCode.NOT_FOUND)
    return {"select": names} if members else {"select": names, "members": None}


def _vote_json(result: Aggregation, found: Results, path: Path) -> dict[str, Any]:
    return {
        "schema": 1,
        "submission": str(path),
        "validation": found.vote_validation,
        "manifest": dict(result.manifest),
    }


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("gold", metavar="GOLD", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--submission", type=click.Path(path_type=Path, dir_okay=False), help="another submission of RUN's test")
@json_option
@click.pass_obj
def score(session: Session, run: str, gold: Path, submission: Path | None, as_json: bool) -> None:
    """Score RUN's submission, and each member's own answers, against GOLD: the test's rows with answers.

    Also what needs no model: always the letter that is commonest in GOLD, and chance.
    """
    plan = session.plan(run)
    problems = read_gold(gold)
    rows = read_submission(_submission(session, plan, submission))
    total = score_rows(rows, problems)
    if total.missing == total.total:
        raise RefusedError(f"{gold}: none of its {total.total} questions is answered in {plan.run}", ExitCode.BAD_INPUT)
    spec = spec_of(plan)
    found = results_of(session.storage, plan, voted(session, plan, spec), spec, problems)
    floor = floor_of(split_questions(problems))
    if as_json:
        members = {member.name: _score_json(member.test) for member in found.members}
        floors = None if floor is None else asdict(floor)
        whole = {"schema": 1, "run": plan.run, "submission": _score_json(total), "members": members, "floor": floors}
        click.echo(json.dumps(whole, ensure_ascii=False, indent=1))
        return
    console().print(score_table(found, total, floor))
    if total.extra:
        click.echo(f"{total.extra} answers are for questions that {gold} does not have; they count for nothing")


def read_gold(path: Path) -> tuple[Problem, ...]:
    """Labelled rows; raises DefectsError with every defect, RefusedError where there is no such file."""
    try:
        problems, defects = read_problems(path, labelled=True)
    except FileNotFoundError:
        raise RefusedError(f"{path} does not exist", ExitCode.NOT_FOUND) from None
    if defects:
        raise DefectsError(defects)
    return problems


def _submission(session: Session, plan: Plan, given: Path | None) -> Path:
    path = given or session.home.submission(plan.run, plan.submission)
    if not path.exists():
        raise RefusedError(f"{path} does not exist yet; `nonet status {plan.run}` says why", ExitCode.NOT_FOUND)
    return path


def _score_json(found: Score | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"correct": found.correct, "total": found.total, "missing": found.missing, "accuracy": found.accuracy}
