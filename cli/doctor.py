"""`nonet doctor`: looks at this machine, the storage and the fleet. Changes nothing that lasts."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import click
import redis
from rich.text import Text

from cli.exit_codes import ExitCode
from cli.screen import console
from cli.session import Session
from cli.tables import plain_table
from config.settings import NoFleetError, NoStackError, Settings
from nonet.atomic import create_file
from workers.redis_server import NoRedisError, find_redis_server, server_version

_LOW_SPACE = 5 * 2**30
"""Bytes; adapters, checkpoints and ballots of a batch need some."""


class Health(StrEnum):
    """What a check found."""

    GOOD = "ok"
    WARNING = "note"
    BAD = "bad"


_STYLES = {Health.GOOD: "green", Health.WARNING: "bold", Health.BAD: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `exit_code` is that of the command when it is bad."""

    what: str
    health: Health
    text: str
    exit_code: ExitCode = ExitCode.DONE


def findings(session: Session) -> Iterator[Finding]:
    """Every check, in order."""
    version = ".".join(map(str, sys.version_info[:3]))
    new_enough = sys.version_info >= (3, 11)
    yield Finding("Python", Health.GOOD if new_enough else Health.BAD, version, ExitCode.USAGE)
    yield from _stacks(session.settings)
    yield from _storage(session.home.root)
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


def _storage(home: Path) -> Iterator[Finding]:
    place = f"storage {home}"
    probe = home / f".doctor-{uuid.uuid4().hex}"
    try:
        first, second = create_file(probe, b"1"), create_file(probe, b"2")
        sound = first and not second and probe.read_bytes() == b"1"
        text = "creates files exclusively" if sound else "an exclusive create is not exclusive; use another file system"
        yield Finding(place, Health.GOOD if sound else Health.BAD, text, ExitCode.STORAGE)
        free = shutil.disk_usage(home).free
        health = Health.GOOD if free > _LOW_SPACE else Health.WARNING
        yield Finding("free space", health, f"{free / 2**30:.1f} GiB")
    except OSError as error:
        yield Finding(place, Health.BAD, f"{error}; give another --home, or mend it", ExitCode.STORAGE)
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


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
    info = client.info()
    yield Finding("Redis", Health.GOOD, f"{info['redis_version']}, answers")
    saved = bool(info.get("aof_enabled"))
    text = "append-only file" if saved else "none: waiting messages die with Redis; the scheduler sends them again"
    yield Finding("Redis persistence", Health.GOOD if saved else Health.WARNING, text)
    policy = str(info.get("maxmemory_policy", "unknown"))
    kept = policy == "noeviction"
    remedy = "" if kept else ": may drop messages and leases; set maxmemory-policy noeviction"
    yield Finding("Redis eviction", Health.GOOD if kept else Health.BAD, policy + remedy, ExitCode.NO_FLEET)
    yield from _workers(session)


def _workers(session: Session) -> Iterator[Finding]:
    from tasks.app import make_app

    inspect = make_app(session.redis_url()).control.inspect(timeout=2.0)
    queues = inspect.active_queues() or {}
    if not queues:
        yield Finding("workers", Health.WARNING, "none answers; `nonet up` or `nonet worker` starts one")
    for name in sorted(queues):
        taken = ", ".join(sorted(queue["name"] for queue in queues[name]))
        yield Finding(f"worker {name}", Health.GOOD, f"takes {taken}")


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
