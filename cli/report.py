"""`nonet report`: report.html of a run. Knows where it is written and what to say of it."""

from __future__ import annotations

import click

from cli.options import run_argument
from cli.session import Session
from nonet.report.page import write_report


@click.command()
@run_argument
@click.pass_obj
def report(session: Session, run: str | None) -> None:
    """Write report.html of RUN into its folder: one page that needs no network, for light and dark screens.

    Each run writes it when it ends. Again after `nonet score`, it shows what is right and wrong; of a run that goes on
    or is blocked, it shows what there is.
    """
    plan = session.plan(run)
    size = write_report(session.storage, session.attempts, plan)
    click.echo(f"{session.store.place(session.home.report(plan.run))}: {size / 1000:,.0f} kB")
