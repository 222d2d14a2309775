"""`nonet vote` and `score`: what the ballots at hand come to, without a GPU or a fleet. Changes no artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cli.compare import show_comparison
from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.options import json_option, run_argument
from cli.screen import console
from cli.session import Session
from cli.tables import bases_table, results_lines, results_table, score_table, vote_lines
from nonet.aggregation import Aggregation, aggregate, collect, spec_of
from nonet.base_results import BaseResult, base_results
from nonet.defect import DefectsError
from nonet.labelled import labelled
from nonet.pairs import Pair
from nonet.plan import Plan, QuestionSet
from nonet.problem import Problem, split_questions
from nonet.results import Results, floor_of, pairs_with, results_of
from nonet.rows import read_problems
from nonet.run_score import remember_score
from nonet.score import Score, row_answers, score_answers
from nonet.submission import read_submission
from nonet.vote import METHODS, SELECTIONS, MissingBallotsError, VoteSpec
from nonet.workbook import write_logbook


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
    spec = spec_of(plan, **given, **_selection(plan, select, members))
    result = voted(session, plan, spec)
    folder, store = session.home.votes(plan.run) / result.key[:12], session.store
    store.replace(folder / plan.submission, result.submission)
    manifest = json.dumps(result.manifest, ensure_ascii=False, indent=1).encode() + b"\n"
    store.replace(folder / f"{plan.submission}.manifest.json", manifest)
    place = store.place(folder / plan.submission)
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
        raise RefusedError(f"{plan.run}: {error}", ExitCode.BAD_INPUT) from error


def _selection(plan: Plan, select: str | None, members: int | None) -> Mapping[str, Any]:
    """The `select` of a VoteSpec; named members set the number of members too, unless that is given."""
    if select is None:
        return {}
    if select in SELECTIONS:
        return {"select": select}
    names = tuple(name.strip() for name in select.split(",") if name.strip())
    known = [adapter.name for adapter in plan.adapters]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        named = ", ".join(map(repr, unknown)) or repr(select)
        raise RefusedError(f"run {plan.run} has no adapter {named}; it has {', '.join(known)}", ExitCode.NOT_FOUND)
    return {"select": names} if members else {"select": names, "members": None}


def _vote_json(result: Aggregation, found: Results, place: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "submission": place,
        "validation": found.vote_validation,
        "pairs": [pair.to_json() for pair in found.pairs_validation],
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

    RUN may also be the file of a submission, whoever made it. Beside each accuracy stands its 95 % interval, beside
    each member the p of McNemar's exact test of the submission against it. Also what needs no model: always the letter
    that is commonest in GOLD, and chance. --json holds the tests of every two members too. The scores of RUN's own
    submission and its members are kept for log.xlsx and the report.
    """
    problems = read_gold(gold)
    floor = floor_of(split_questions(problems))
    tests: tuple[Pair, ...] = ()
    members: dict[str, Score] = {}
    bases: tuple[BaseResult, ...] = ()
    if submission is None and Path(run).is_file():
        total = _scored(row_answers(read_submission(Path(run))), problems, run)
    else:
        plan = session.plan(run)
        answers = row_answers(read_submission(_submission(session, plan, submission)))
        if submission is None:
            _refuse_other_test(answers, problems, gold, plan.run)
        total = _scored(answers, problems, plan.run)
        cells = [cell for cell in plan.cells if session.storage.has(cell.scope, cell.key)]
        test = labelled(problems, collect(session.storage, cells, QuestionSet.TEST))
        run, members = plan.run, {a.name: test.score(test.letters_of(a.name)) for a in plan.adapters}
        if submission is None and remember_score(session.storage, plan, problems, total, members):
            write_logbook(session.storage)
        tests = pairs_with(test, list(members), answers)
        bases = base_results(session.storage, plan, spec_of(plan), problems) if len(plan.bases) > 1 else ()
    if as_json:
        whole = {
            "schema": 1,
            "run": run,
            "submission": total.to_json(),
            "members": {name: member.to_json() for name, member in members.items()},
            "pairs": [pair.to_json() for pair in tests],
            "bases": [asdict(base) for base in bases],
            "floor": None if floor is None else asdict(floor),
        }
        click.echo(json.dumps(whole, ensure_ascii=False, indent=1))
        return
    console().print(score_table(total, members, tests, floor))
    if bases:
        console().print(bases_table(bases))
    if total.extra:
        click.echo(f"{total.extra} answers are for questions that {gold} does not have; they count for nothing")


def _refuse_other_test(answers: Mapping[str, str | None], gold: tuple[Problem, ...], path: Path, run: str) -> None:
    """Raise RefusedError where `gold` holds questions that the run's test does not have: a score would mean nothing."""
    strange = [question.id for question in split_questions(gold) if question.id not in answers]
    if strange:
        raise RefusedError(
            f"{path}: {len(strange)} of its questions are not in the test of {run} (first: {strange[0]}); "
            "give the gold of that test",
            ExitCode.BAD_INPUT,
        )


def _scored(answers: Mapping[str, str | None], problems: tuple[Problem, ...], run: str) -> Score:
    """Raises RefusedError where nothing is answered."""
    total = score_answers(answers, split_questions(problems))
    if total.missing == total.total:
        raise RefusedError(f"none of the {total.total} questions with gold is answered in {run}", ExitCode.BAD_INPUT)
    return total


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
    if given is not None and given.exists():
        return given
    place = session.submission_place(plan) if given is None else str(given)
    try:
        return session.store.fetch(given or session.home.submission(plan.run, plan.submission), afresh=True)
    except FileNotFoundError:
        message = f"{place} does not exist yet; `nonet status {plan.run}` says why"
        raise RefusedError(message, ExitCode.NOT_FOUND) from None
