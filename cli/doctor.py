"""`nonet doctor`: looks at this machine, the storage and the fleet. Changes nothing that lasts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import redis
from rich.text import Text

from cli.conditions import redis_findings, storage_findings
from cli.errors import RefusedError
from cli.estimate import estimate
from cli.exit_codes import ExitCode
from cli.finding import Finding, Health
from cli.fit import fits, refuse_unfit
from cli.screen import console
from cli.session import Session
from cli.tables import plain_table
from config.settings import NoFleetError, NoStackError, Settings
from nonet.limits.capacity import Capacity
from nonet.limits.fit import gib
from tasks.announcement import announced
from workers.redis_server import NoRedisError, find_redis_server, server_version

_STYLES = {Health.GOOD: "green", Health.WARNING: "bold", Health.BAD: "bold red"}


def findings(session: Session) -> Iterator[Finding]:
    """Every check, in order."""
    version = ".".join(map(str, sys.version_info[:3]))
    new_enough = sys.version_info >= (3, 11)
    yield Finding("Python", Health.GOOD if new_enough else Health.BAD, version, ExitCode.USAGE)
    yield from _stacks(session.settings)
    yield from storage_findings(session.home, session.settings.reserve)
    if session.settings.redis_url is None:
        yield _redis_server()
    yield from _fleet(session)


def _stacks(settings: Settings) -> Iterator[Finding]:
    wanted = {"trains": settings.train_stack, "transformers engine": settings.transformers_stack}
    optional = {"vllm engine": settings.vllm_stack}
    for role, stack in {**wanted, **optional}.items():
        name = f"stack {stack} ({role})"
        try:
            python = settings.stack_python(stack)
        except NoStackError as error:
            needed = role in wanted or settings.engine == "vllm"
            yield Finding(name, Health.BAD if needed else Health.WARNING, str(error), ExitCode.NO_FLEET)
            continue
        yield Finding(name, Health.GOOD, _version(python))


def _version(python: Path) -> str:
    done = subprocess.run([str(python), "--version"], capture_output=True, text=True, check=False)
    return f"{done.stdout.strip() or done.stderr.strip()}, {python}"


def _redis_server() -> Finding:
    try:
        server = find_redis_server()
    except NoRedisError as error:
        return Finding("redis-server", Health.BAD, str(error), ExitCode.NO_FLEET)
    version = ".".join(map(str, server_version(server)))
    return Finding("redis-server", Health.GOOD, f"{version}, {server}")


def _fleet(session: Session) -> Iterator[Finding]:
    try:
        client = session.client
        client.ping()
    except NoFleetError as error:
        yield Finding("fleet", Health.WARNING, str(error))
        return
    except redis.RedisError as error:
        yield Finding("Redis", Health.BAD, f"{error}; is the fleet up?", ExitCode.NO_FLEET)
        return
    except OSError as error:
        yield Finding("fleet", Health.BAD, f"where its Redis is cannot be read: {error}", ExitCode.STORAGE)
        return
    yield from redis_findings(client)
    yield from _workers(session)


def _workers(session: Session) -> Iterator[Finding]:
    from kombu.exceptions import OperationalError

    from tasks.app import make_app

    inspect = make_app(session.redis_url()).control.inspect(timeout=2.0)
    try:
        queues = inspect.active_queues() or {}
    except (redis.RedisError, OperationalError) as error:  # a full Redis refuses the question
        yield Finding("workers", Health.BAD, f"they cannot be asked: {error}", ExitCode.NO_FLEET)
        return
    if not queues:
        yield Finding("workers", Health.WARNING, "none answers; `nonet up` or `nonet worker` starts one")
    capacities = {worker.worker: worker for worker in announced(session.client)}
    for name in sorted(queues):
        taken = ", ".join(sorted(queue["name"] for queue in queues[name]))
        yield Finding(f"worker {name}", Health.GOOD, f"takes {taken}{_has(capacities.get(name))}")
    yield from _runs(session, tuple(capacities.values()))


def _has(worker: Capacity | None) -> str:
    """What a worker has announced, for people."""
    if worker is None:
        return ""
    capability = f", compute capability {'.'.join(map(str, worker.capability))}" if worker.capability else ""
    return f"; {worker.name}, {gib(worker.memory)}{capability}; stacks {', '.join(worker.stacks) or 'none'}"


def _runs(session: Session, workers: tuple[Capacity, ...]) -> Iterator[Finding]:
    """Whether what unfinished runs still need fits the workers."""
    for run in session.unfinished():
        plan = session.plan(run)
        try:
            refuse_unfit(fits(plan, workers), estimate(session.storage, plan, {}))
        except RefusedError as error:
            yield Finding(f"run {run}", Health.BAD, str(error), ExitCode.NO_FLEET)


@click.command()
@click.pass_obj
def doctor(session: Session) -> int:
    """Check this machine, the storage and the fleet. Exit code 0 when nothing is bad."""
    screen = console()
    table = plain_table("", "", "")
    table.show_header = False
    table.columns[2].no_wrap = False
    found = list(findings(session))
    for finding in found:
        table.add_row(Text(finding.health.value, _STYLES[finding.health]), finding.what, finding.text)
    screen.print(table)
    bad = [finding for finding in found if finding.health is Health.BAD]
    return bad[0].exit_code if bad else ExitCode.DONE
