"""`nonet logbook`: log.xlsx written again. Knows what to say of it."""

from __future__ import annotations

import click

from cli.session import Session
from nonet.runs.workbook import write_logbook


@click.command()
@click.pass_obj
def logbook(session: Session) -> None:
    """Write log.xlsx anew: one sheet a base, a row for each adapter and each vote of every run.

    Each run writes it when it ends, and `nonet score` when it learns a test score; this does so at any other time.
    """
    book = write_logbook(session.storage)
    for run, why in book.unread.items():
        click.echo(f"{run} is left out: {why}", err=True)
    rows = sum(len(entries) for entries in book.sheets.values())
    bases = len(book.sheets)
    place = session.store.place(session.home.logbook)
    click.echo(f"{place}: {rows:,} rows, {bases} {'base' if bases == 1 else 'bases'}")
