"""`nonet vote` and `score`: what the ballots at hand come to, without a GPU or a fleet. Changes no artifact."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cli.compare import show_comparison
from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.options import json_option, run_argument
from cli.scoring import read_gold, score_file, score_run
from cli.screen import console
from cli.session import LATEST, Session
from cli.tables import bases_table, results_lines, results_table, score_table, vote_lines
from nonet.runs.base_results import base_results
from nonet.runs.plan import Plan
from nonet.runs.results import Results, results_of
from nonet.voting.aggregation import Aggregation, aggregate, spec_of
from nonet.voting.vote import METHODS, SELECTIONS, MissingBallotsError, VoteSpec


@click.command()
@run_argument
@click.option("--method", type=click.Choice(METHODS), help="how ballots are counted")
@click.option("--weights", type=click.Choice(["log-odds", "accuracy"]), help="what weighted votes weigh by")
@click.option("--members", type=click.IntRange(min=1), help="how many vote; with --select greedy at most")
@click.option("--select", metavar="HOW", help="validation (the best), greedy, all, or names with commas between")
@click.option("--allow-partial/--no-allow-partial", default=None, help="vote although ballots are missing")
@click.option("--quorum", type=click.IntRange(min=1), help="fewest ballots a question of a partial vote")
@click.option("--compare", is_flag=True, help="show what every method and selection comes to; writes nothing")
@click.option("--gold", type=click.Path(path_type=Path, dir_okay=False), help="compare on the test too: its answers")
@json_option
@click.pass_obj
def vote(
    session: Session,
    /,
    run: str | None,
    select: str | None,
    compare: bool,
    gold: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Vote again over the ballots of RUN with other settings; what is not given is as in the batch.

    Needs no GPU and no fleet. The submission goes into a folder of its own under the run's votes; the run's own
    submission stays as it is. With --compare all methods and selections stand side by side instead, measured on
    validation; of the settings only --members goes with it.
    """
    plan = session.plan(run)
    members = settings["members"]
    given = {name: value for name, value in settings.items() if value is not None}
    if compare:
        if select is not None or given.keys() - {"members"}:
            raise click.UsageError("--compare goes through all methods and selections; only --members goes with it")
        show_comparison(session, plan, members, read_gold(gold) if gold else (), as_json)
        return
    if gold is not None:
        raise click.UsageError("--gold goes with --compare; `nonet score` scores a submission")
    spec = spec_with(plan, select, **given)
    result = voted(session, plan, spec)
    place = written(session, plan, result)
    found = results_of(session.storage, plan, result, spec)
    bases = base_results(session.storage, plan, spec) if len(plan.bases) > 1 else ()
    if as_json:
        whole = _vote_json(result, found, place) | {"bases": [asdict(base) for base in bases]}
        click.echo(json.dumps(whole, ensure_ascii=False, indent=1))
        return
    console().print(results_table(found))
    if bases:
        console().print(bases_table(bases))
    for line in (*vote_lines(result), *results_lines(found)):
        click.echo(line)
    click.echo(f"submission: {place}")


def voted(session: Session, plan: Plan, spec: VoteSpec) -> Aggregation:
    """The vote of `plan` under `spec`; raises RefusedError for settings that cannot be, MissingBallotsError."""
    try:
        return aggregate(session.storage, plan, spec)
    except MissingBallotsError:
        raise
    except ValueError as error:
        raise session.refused(plan, error) from error


def spec_with(plan: Plan, select: str | None = None, **changes: Any) -> VoteSpec:
    """The vote's settings as the batch has them, with `changes` over them; `select` as on the command line.

    Named members set the number of members too, unless that is given. Raises RefusedError for an unknown name.
    """
    if select is None or select in SELECTIONS:
        return spec_of(plan, **changes, **({} if select is None else {"select": select}))
    names = tuple(name.strip() for name in select.split(",") if name.strip())
    known = [adapter.name for adapter in plan.adapters]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        named = ", ".join(map(repr, unknown)) or repr(select)
        raise RefusedError(f"run {plan.run} has no adapter {named}; it has {', '.join(known)}", ExitCode.NOT_FOUND)
    return spec_of(plan, **{"members": None, **changes, "select": names})


def written(session: Session, plan: Plan, result: Aggregation) -> str:
    """Write the submission and manifest of a vote into a folder of its own; where the submission is. Raises OSError."""
    folder, store = session.home.votes(plan.run) / result.key[:12], session.store
    store.replace(folder / plan.submission, result.submission)
    manifest = json.dumps(result.manifest, ensure_ascii=False, indent=1).encode() + b"\n"
    store.replace(folder / f"{plan.submission}.manifest.json", manifest)
    return store.place(folder / plan.submission)


def _vote_json(result: Aggregation, found: Results, place: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "submission": place,
        "validation": found.vote_validation,
        "pairs": [pair.to_json() for pair in found.pairs_validation],
        "manifest": dict(result.manifest),
    }


@click.command()
@click.argument("given", metavar="[RUN] GOLD", nargs=-1, type=click.Path(path_type=Path))
@click.option("--submission", type=click.Path(path_type=Path, dir_okay=False), help="another submission of RUN's test")
@json_option
@click.pass_obj
def score(session: Session, given: tuple[Path, ...], submission: Path | None, as_json: bool) -> None:
    """Score RUN's submission, and each member's own answers, against GOLD: the test's rows with answers.

    RUN may also be the file of a submission, whoever made it. Beside each accuracy stands its 95 % interval, beside
    each member the p of McNemar's exact test of the submission against it. Also what needs no model: always the letter
    that is commonest in GOLD, and chance. --json holds the tests of every two members too. The scores of RUN's own
    submission and its members are kept for log.xlsx and the report.
    """
    if len(given) not in (1, 2) or given[-1].is_dir():
        raise click.UsageError(
            "give GOLD, the file of the test's rows with their answers, after the run or alone (the latest run): "
            f"nonet score {LATEST} gold.jsonl"
        )
    run, gold = given[0] if len(given) == 2 else None, given[-1]
    if submission is None and run is not None and run.is_file():
        found = score_file(run, gold)
    else:
        found = score_run(session, session.plan(None if run is None else str(run)), gold, submission)
    if as_json:
        whole = {
            "schema": 1,
            "run": found.run,
            "submission": found.submission.to_json(),
            "members": {name: member.to_json() for name, member in found.members.items()},
            "pairs": [pair.to_json() for pair in found.pairs],
            "bases": [asdict(base) for base in found.bases],
            "floor": None if found.floor is None else asdict(found.floor),
        }
        click.echo(json.dumps(whole, ensure_ascii=False, indent=1))
        return
    console().print(score_table(found.submission, found.members, found.pairs, found.floor))
    if found.bases:
        console().print(bases_table(found.bases))
    if found.stopped:
        names = ", ".join(found.stopped)
        click.echo(f"not scored, since they were not asked what was decided without them: {names}")
    if found.submission.extra:
        click.echo(
            f"{found.submission.extra} answers are for questions that {gold} does not have; they count for nothing"
        )
