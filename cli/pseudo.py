"""`nonet pseudo`: the vote's answers as labels for the next batch. Knows where the file goes and what to say of it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.options import run_argument
from cli.session import Session
from cli.vote import voted
from nonet.plural import counted
from nonet.questions.pseudo import pseudo_labels
from nonet.questions.rows import dumps
from nonet.runs.plan import QuestionSet
from nonet.stores.atomic import replace_file
from nonet.voting.aggregation import problems_of, spec_of

LEAST = (
    "the run stopped when decided, so its margins are the least that they could have come to: submit the batch again "
    "with stop_when_decided: false for the real ones (adapters and validation are reused)"
)


@click.command()
@run_argument
@click.option(
    "--min-margin",
    metavar="M",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="leave out questions that were decided by less, 0 (a tie) to 1 (all agree)",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="[default: pseudo.jsonl in RUN's folder]")
@click.pass_obj
def pseudo(session: Session, run: str | None, min_margin: float, out: Path | None) -> None:
    """Write RUN's test with the vote's answers as a source for the next batch (labels: pseudo).

    Each question has the margin of its vote; a mix can ask for more: {source: NAME, min_margin: 0.5}. The stems are the
    test's: a mix of a batch with the same test is refused unless it allows the leak.
    """
    plan = session.plan(run)
    result = voted(session, plan, spec_of(plan))
    found = pseudo_labels(problems_of(session.storage, plan, QuestionSet.TEST), result, plan.run, min_margin)
    if not found.rows:
        least = f"; {LEAST}" if plan.stop_when_decided else ""
        raise RefusedError(f"no question of {plan.run} was decided by {min_margin} or more{least}", ExitCode.BAD_INPUT)
    if out is not None:
        replace_file(out, dumps(found.rows))
    else:
        session.store.replace(session.home.pseudo(plan.run), dumps(found.rows))
    left, rows = found.questions - found.kept, counted(len(found.rows), "row")
    below = f"{left:,} {'is' if left == 1 else 'are'} below the margin of {min_margin:g}"
    click.echo(f"{counted(found.kept, 'question')} in {rows}; {below}")
    if plan.stop_when_decided:
        click.echo(LEAST)
    place = str(out.absolute()) if out is not None else session.store.place(session.home.pseudo(plan.run))
    if not Path(place).exists():
        click.echo(f"{place}; a batch file needs it on this machine: nonet pseudo {plan.run} --out FILE")
        return
    click.echo(f"sources:\n  {plan.name}: {{path: {json.dumps(place, ensure_ascii=False)}, labels: pseudo}}")
