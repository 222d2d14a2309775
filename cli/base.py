"""`nonet base fetch`: a base from a hub, before it is needed. Knows what is printed."""

from __future__ import annotations

import click

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.session import Session
from nonet.bases.fingerprint import base_digest
from nonet.bases.hub import Hub, HubError, fetch


@click.group()
def base() -> None:
    """Fetch bases from a hub."""


@base.command("fetch", short_help="fetch a base from a hub into its client's cache")
@click.argument("model", metavar="ID")
@click.option("--revision", help="commit, tag or branch [default: the newest]")
@click.option("--hub", type=click.Choice([hub.value for hub in Hub]), help="[NONET_HUB; default: huggingface]")
@click.pass_obj
def fetch_base(session: Session, model: str, revision: str | None, hub: str | None) -> None:
    """Fetch the base ID (owner/name) into the cache of the hub's own client; `nonet plan` and `submit` do it too.

    Again after it was broken off: files that are whole are kept. Where no hub can be reached, copy the folder of a base
    there and name the folder in the batch file.
    """
    chosen = Hub(hub) if hub else session.settings.hub
    try:
        found = fetch(chosen, model, revision)
    except HubError as error:
        raise RefusedError(str(error), ExitCode.BAD_INPUT) from error
    pinned = f", revision: {found.revision}" if found.revision else ""
    click.echo(f"{found.path}  {base_digest(found.path)[:12]}")
    click.echo(f"base: {{model: {model}{pinned}}}")
