"""`nonet serve`: the page beside Flower. Knows where it may listen; `cli.page` knows what it shows."""

from __future__ import annotations

import logging

import click

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.session import Session
from config.flower_login import FlowerSettings


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="[NONET_PAGE_PORT; default: 5557]")
@click.option("--address", help="where it listens [NONET_PAGE_ADDRESS; default: 127.0.0.1]")
@click.pass_obj
def serve(session: Session, port: int | None, address: str | None) -> None:
    """Serve the page until Ctrl-C: runs, the grid, attempts with their logs, the vote as it forms, rerun and cancel.

    Its logins are Flower's: NONET_FLOWER_AUTH, NONET_FLOWER_AUTH_FILE. Without one it listens on loopback only and only
    shows, and with NONET_FLOWER_READ_ONLY=true it does too.
    """
    from cli.page.server import run_page

    settings, login = session.settings, FlowerSettings()
    where = settings.page_address if address is None else address
    check_page(login, where)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run_page(session, login, where, settings.page_port if port is None else port)


def check_page(login: FlowerSettings, address: str) -> None:
    """Raises RefusedError where the page may not listen on `address`."""
    try:
        login.check_page(address)
    except ValueError as error:
        raise RefusedError(str(error), ExitCode.USAGE) from None
