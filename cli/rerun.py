"""`nonet rerun` and `cancel`: forgive failures, stop a run. Knows which units are meant, enqueues nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.options import run_argument
from cli.session import FleetSeen, Session, waiting_note
from cli.view import attempts_text, cause
from nonet.runs.plan import Plan
from scheduler.reconcile import rerun_units
from scheduler.state import Phase, RunState, UnitState, UnitStatus
from scheduler.submit import cancel as cancel_run


@click.command()
@run_argument
@click.option("--failed", is_flag=True, help="only what has failed (what a rerun without a selection means too)")
@click.option(
    "--adapter", "adapters", multiple=True, metavar="NAME", help="only this adapter and its cells; repeatable"
)
@click.option("--shard", "shards", multiple=True, metavar="NAME", help="only cells of this shard; repeatable")
@click.option("--dry-run", is_flag=True, help="say what would be tried again, and leave it")
@click.pass_obj
def rerun(
    session: Session, run: str | None, failed: bool, adapters: tuple[str, ...], shards: tuple[str, ...], dry_run: bool
) -> None:
    """Try again what has failed in RUN, and nothing else; a cancelled run is taken up again.

    What is committed is never computed twice. A cell that waits for a failed adapter brings that adapter along.
    """
    plan = session.plan(run)
    again = meant_again(session, plan, failed=failed, adapters=adapters, shards=shards)
    cancelled = session.store.exists(session.home.cancelled(plan.run))
    for unit in again:
        click.echo(f"{unit.name}: {attempts_text(unit.attempts)}, {cause(unit.last)}")
    told = f"{len(again)} to be tried again" if again else "nothing selected has failed"
    told += f"; it was cancelled and {'would be' if dry_run else 'is'} taken up again" if cancelled else ""
    click.echo(f"{plan.run}: {told}")
    if not again and not cancelled:
        return
    if dry_run:
        click.echo("dry run: nothing was changed")
        return
    _say(forgive(session, plan, again))


def meant_again(
    session: Session, plan: Plan, *, failed: bool, adapters: Sequence[str], shards: Sequence[str]
) -> tuple[UnitStatus, ...]:
    """The failed units of the run of `plan` that a rerun with this selection means; raises RefusedError, OSError."""
    check_names(plan, adapters, shards)
    state, _ = session.state(plan)
    meant = rerun_units(state, failed=failed, adapters=adapters, shards=shards)
    if (adapters or shards) and not meant and not failed:
        raise RefusedError(
            "everything selected is committed: committed results are never computed twice", ExitCode.USAGE
        )
    return forgivable(state, meant)


def forgive(session: Session, plan: Plan, again: Iterable[UnitStatus]) -> FleetSeen:
    """Forgive the failures of the units `again` and take the run of `plan` up if it is cancelled. Raises OSError."""
    for unit in again:
        session.attempts.pardon(unit.key)
    session.store.delete(session.home.cancelled(plan.run))
    return session.wake()


def stop(session: Session, plan: Plan) -> tuple[bool, FleetSeen]:
    """Cancel the run of `plan`, durably; whether it was not so before. Raises OSError."""
    first = cancel_run(session.storage, plan.run)
    return first, session.wake()


def forgivable(state: RunState, meant: Sequence[UnitStatus]) -> tuple[UnitStatus, ...]:
    """Those of `meant` that failed, after the failed adapters that waiting cells among them need."""
    waiting = {unit.name.rpartition("/")[0] for unit in meant if unit.state is UnitState.WAITING}
    needed = [unit for unit in state.adapters if unit.state is UnitState.FAILED and unit.name in waiting]
    chosen = [*needed, *(unit for unit in meant if unit.state is UnitState.FAILED)]
    return tuple({unit.key: unit for unit in chosen}.values())


def check_names(plan: Plan, adapters: Iterable[str], shards: Iterable[str]) -> None:
    """Raises RefusedError for a name that the plan does not have."""
    for what, given, known in (
        ("adapter", adapters, [a.name for a in plan.adapters]),
        ("shard", shards, [s.name for s in plan.shards]),
    ):
        for name in given:
            if name not in known:
                message = f"run {plan.run} has no {what} {name!r}; it has {', '.join(known)}"
                raise RefusedError(message, ExitCode.NOT_FOUND)


@click.command()
@run_argument
@click.pass_obj
def cancel(session: Session, run: str | None) -> None:
    """Stop RUN. The mark lies on storage: it holds also when no worker is up, and after a restart.

    Workers stop within seconds; what is committed stays. `nonet rerun` or `nonet submit` takes the run up again.
    RUN may be left out where one run only is unfinished.
    """
    if run is None:
        run = _only_unfinished(session)
    plan = session.plan(run)
    state, _ = session.state(plan)
    if state.phase is Phase.COMPLETE:
        click.echo(f"{plan.run}: complete already, nothing to cancel")
        return
    first, seen = stop(session, plan)
    click.echo(f"{plan.run}: {'cancelled' if first else 'cancelled before'}")
    _say(seen)


def _only_unfinished(session: Session) -> str | None:
    runs = session.unfinished()
    if len(runs) > 1:
        raise RefusedError(f"several runs are unfinished; say which: {', '.join(runs)}", ExitCode.USAGE)
    return runs[0] if runs else None


def _say(seen: FleetSeen) -> None:
    note = waiting_note(seen)
    if note:
        click.echo(note, err=True)
