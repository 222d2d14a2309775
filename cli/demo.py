"""`nonet demo`: the main job from nothing to a scored submission. Knows the order: fleet, submit, watch, table, end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from cli.batch import drafted
from cli.errors import RefusedError
from cli.exit_codes import OF_PHASE, ExitCode
from cli.fleet import fleet_up, places
from cli.scoring import read_gold
from cli.screen import console
from cli.session import Session
from cli.tables import results_lines, results_table, share, vote_lines
from cli.vote import voted
from cli.watch import follow_run
from nonet.questions.problem import split_questions
from nonet.report.page import write_report
from nonet.runs.plan import Plan
from nonet.runs.results import floor_of, results_of
from nonet.runs.run_score import remember_score
from nonet.runs.workbook import write_logbook
from nonet.voting.aggregation import spec_of
from scheduler.state import Phase
from scheduler.submit import submit
from workers.fleet import Fleet

_ROOT = Path(__file__).resolve().parent.parent
_BATCH = _ROOT / "config" / "batches" / "demo.yaml"
_GOLD = _ROOT / "data" / "demo" / "test_gold.jsonl"


@click.command()
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="workers that compute")
@click.option("--flower/--no-flower", default=True, help="Flower too [default: yes]")
@click.pass_obj
def demo(session: Session, workers: int, flower: bool) -> int:
    """Run the demo batch on this machine and score it: no GPU, no Docker, no account.

    Everything it starts ends with it, also on Ctrl-C. A second run reuses every artifact and ends in seconds.
    """
    if not _BATCH.exists():
        raise RefusedError(f"{_BATCH} does not exist: the demo runs in a checkout of Nonet", ExitCode.NOT_FOUND)
    batch, found = drafted(session, _BATCH)
    submit(session.storage, found, batch.text)
    plan = found.plan
    code = ExitCode.DONE
    if session.state(plan)[0].phase is Phase.COMPLETE:
        click.echo(f"{plan.run}: every artifact is there already and is reused")
    else:
        code = _computed(session, plan, workers, flower)
    if code == ExitCode.DONE:
        _show(session, plan)
    return code


def _computed(session: Session, plan: Plan, workers: int, flower: bool) -> ExitCode:
    """Follow the run on a fleet of its own, which ends with it."""
    with fleet_up(session, workers=workers, flower=flower) as fleet:
        for line in places(fleet, session.settings):
            click.echo(line)
        click.echo()
        phase = follow_run(session, plan, hint=_Hint(fleet))
    return OF_PHASE[phase]


class _Hint:
    """The line under the grid; looks after the fleet at each look, and tells which of its processes keep ending."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._ended: Counter[str] = Counter()

    def __call__(self) -> str:
        self._ended.update(self._fleet.watch_once())
        often = [name for name, times in self._ended.items() if times > 1]
        if often:
            return f"{', '.join(often)} keeps ending and is started again; see {self._fleet.logs}"
        return "Ctrl-C ends all of it; the next `nonet demo` goes on from there"


def _show(session: Session, plan: Plan) -> None:
    """The table, the vote, the best single and where the submission is."""
    gold = read_gold(_GOLD)
    spec = spec_of(plan)
    result = voted(session, plan, spec)
    found = results_of(session.storage, plan, result, spec, gold)
    click.echo()
    console().print(results_table(found))
    click.echo()
    for line in (*vote_lines(result), *results_lines(found)):
        click.echo(line)
    best, floor = found.best, floor_of(split_questions(gold))
    vote_test = found.vote_test.accuracy if found.vote_test else None
    click.echo(f"vote         validation {share(found.vote_validation)}, test {share(vote_test)}")
    if best is not None and best.test is not None:
        click.echo(f"best single  validation {share(best.validation)}, test {share(best.test.accuracy)} ({best.name})")
    if floor is not None:
        click.echo(f"no model     always {floor.letter} {share(floor.commonest)}, chance {share(floor.chance)} (test)")
    if found.vote_test is not None:
        tested = {member.name: member.test for member in found.members if member.test is not None}
        remember_score(session.storage, plan, gold, found.vote_test, tested)
    write_logbook(session.storage)
    write_report(session.storage, session.attempts, plan)
    click.echo(f"submission   {session.submission_place(plan)}")
    click.echo(f"report       {session.store.place(session.home.report(plan.run))}")
    click.echo(f"logbook      {session.store.place(session.home.logbook)}")
