"""`nonet up`, `worker`, `scheduler` and `flower`: processes that stay. Knows how they are called; workers/ and
scheduler/ know what they do."""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.serve import check_page
from cli.session import Session
from config.flower import run_flower
from config.flower_login import FlowerSettings
from config.queues import Queue
from config.settings import Settings
from workers.fleet import Fleet
from workers.redis_server import free_port

_BEAT = 0.5
"""Seconds between two looks at the children."""


@contextmanager
def fleet_up(
    session: Session, *, workers: int, flower: bool, metrics: bool = False, page: bool = True
) -> Iterator[Fleet]:
    """The fleet on this machine for the length of a with block; SIGTERM and SIGHUP end it as Ctrl-C does.

    Raises FleetRunsError where one is up on this home, NoRedisError.
    """
    settings = session.settings
    if flower:
        checked(FlowerSettings())
        settings = _with_free_port(settings, "flower_port", "Flower listens")
    if metrics:
        settings = _with_free_port(settings, "metrics_port", "metrics are served")
    if page:
        check_page(FlowerSettings(), settings.page_address)
        settings = _with_free_port(settings, "page_port", "the page is served")
    with (
        _interrupted_by(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
        Fleet(settings, workers=workers, flower=flower, metrics=metrics, page=page) as fleet,
    ):
        try:
            yield fleet
        except KeyboardInterrupt:
            click.echo("\nending all of it; trainings write a checkpoint first", err=True)
            raise


@contextmanager
def _interrupted_by(*numbers: signal.Signals) -> Iterator[None]:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _with_free_port(settings: Settings, name: str, what: str) -> Settings:
    """`settings` with another port under `name` where that one is taken; says so."""
    wanted: int = getattr(settings, name)
    if not wanted or _is_free(wanted):
        return settings
    port = free_port()
    click.echo(f"port {wanted} is taken: {what} on {port}", err=True)
    return settings.model_copy(update={name: port})


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def places(fleet: Fleet, settings: Settings) -> Iterator[str]:
    """Where things are, for a person."""
    if fleet.flower_url:
        open_to = "" if FlowerSettings().has_login() else "  (no login: who is on this machine may look)"
        yield f"Flower  {fleet.flower_url}{open_to}"
    if fleet.page_url:
        yield f"page    {fleet.page_url}"
    if fleet.metrics_url:
        yield f"metrics {fleet.metrics_url}"
    yield f"home    {settings.storage_home.store.url}"
    yield f"logs    {fleet.logs}"


@click.command()
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="workers that compute")
@click.option("--flower/--no-flower", default=True, help="Flower too [default: yes]")
@click.option("--metrics/--no-metrics", default=True, help="metrics for Prometheus too [default: yes]")
@click.option("--page/--no-page", default=True, help="the page of `nonet serve` too [default: yes]")
@click.pass_obj
def up(session: Session, workers: int, flower: bool, metrics: bool, page: bool) -> None:
    """Run the whole fleet on this machine until Ctrl-C: Redis, scheduler, workers, Flower, metrics, the page.

    Redis listens on loopback with a password and keeps its queues; with NONET_REDIS_URL that Redis is used instead.
    What ends by itself is started again. Ctrl-C drains: trainings write a checkpoint and resume at the next start.
    """
    try:
        with fleet_up(session, workers=workers, flower=flower, metrics=metrics, page=page) as fleet:
            for line in places(fleet, session.settings):
                click.echo(line)
            click.echo("Ctrl-C ends all of it")
            while True:
                time.sleep(_BEAT)
                for name in fleet.watch_once():
                    click.echo(f"{time.strftime('%H:%M:%S')} {name} had ended and was started again", err=True)
    except KeyboardInterrupt:
        click.echo("all ended", err=True)


@click.command()
@click.option("--name", default="worker", show_default=True, help="its name; unique on this machine")
@click.option(
    "--queues", "names", default="train,infer,cpu", show_default=True, help="what it takes, with commas between"
)
@click.pass_obj
def worker(session: Session, name: str, names: str) -> None:
    """Run one worker until SIGTERM (drains: checkpoint, give the work back) or SIGQUIT.

    One worker a GPU: train,infer. Votes need no GPU: a worker for cpu anywhere.
    """
    from nonet.stores.home import checked_name
    from workers.worker import run_worker

    try:
        checked_name(name)
        queues = [Queue(part.strip()) for part in names.split(",") if part.strip()]
    except ValueError as error:
        raise click.UsageError(f"{error}; queues are {', '.join(queue.value for queue in Queue)}") from None
    if not queues:
        raise click.UsageError(f"--queues names none of {', '.join(queue.value for queue in Queue)}")
    session.redis_url()
    run_worker(session.settings, name=name, queues=queues)


@click.command()
@click.pass_obj
def scheduler(session: Session) -> None:
    """Run one scheduler until SIGTERM. Any number may run; none keeps anything that it cannot lose."""
    from scheduler.loop import run_scheduler

    session.redis_url()
    _log_to_stderr()
    run_scheduler(session.settings)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="[NONET_FLOWER_PORT; default: 5555]")
@click.option("--address", help="where it listens [NONET_FLOWER_ADDRESS; default: 127.0.0.1]")
@click.pass_obj
def flower(session: Session, port: int | None, address: str | None) -> None:
    """Run Flower on this fleet until Ctrl-C.

    On another address than loopback it needs a login: NONET_FLOWER_AUTH=user:password, or NONET_FLOWER_AUTH_FILE,
    a file with one user:password (or user:bcrypt, as `htpasswd -B` writes) a line, or NONET_FLOWER_OAUTH. Without a
    login it only shows, and with NONET_FLOWER_READ_ONLY=true it does too.
    """
    from tasks.app import make_app

    settings = session.settings
    given = checked(FlowerSettings() if address is None else FlowerSettings(address=address))
    url = session.redis_url()
    _log_to_stderr()
    where = settings.flower_port if port is None else port
    run_flower(make_app(url), given, where, session.home.fleet, settings.page_place)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="[NONET_METRICS_PORT; default: 5556]")
@click.option("--address", help="where it listens [NONET_METRICS_ADDRESS; default: 127.0.0.1]")
@click.pass_obj
def metrics(session: Session, port: int | None, address: str | None) -> None:
    """Serve the fleet's metrics to Prometheus until Ctrl-C.

    One process for a fleet is enough; it keeps nothing. It asks for no login: on another address than loopback let
    only Prometheus reach it.
    """
    from scheduler.exporter import run_exporter

    settings = session.settings
    session.redis_url()
    _log_to_stderr()
    where = settings.metrics_address if address is None else address
    run_exporter(settings, where, settings.metrics_port if port is None else port)


def checked(settings: FlowerSettings) -> FlowerSettings:
    """`settings` when Flower may listen there; raises RefusedError."""
    try:
        settings.check()
    except ValueError as error:
        raise RefusedError(str(error), ExitCode.USAGE) from None
    return settings


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
