"""`nonet logs`: the attempts at a run's artifacts with what they logged. Knows where logs lie, not what is in them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

import click

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.options import json_option, run_argument
from cli.session import Session
from nonet.log_line import read_line
from nonet.runs.attempt import Attempt
from nonet.runs.plan import Plan
from nonet.stores.home import Home
from scheduler.state import Phase

_FOLLOW_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class LogPart:
    """One log file with the attempts that share it: (artifact name, attempt), in the plan's order."""

    log: str
    attempts: tuple[tuple[str, Attempt], ...]

    @property
    def started(self) -> float:
        return min(attempt.started for _, attempt in self.attempts)


def log_parts(session: Session, names: Sequence[tuple[str, str]]) -> tuple[LogPart, ...]:
    """The logs of the artifacts `names` (name, key), the earliest first."""
    found = [(name, attempt) for name, key in names for attempt in session.attempts.history(key)]
    by_log = groupby(sorted(found, key=lambda pair: pair[1].log), key=lambda pair: pair[1].log)
    return tuple(sorted((LogPart(log, tuple(group)) for log, group in by_log), key=lambda part: part.started))


def artifacts(session: Session, plan: Plan, wanted: str | None) -> tuple[tuple[str, str], ...]:
    """(name, key) of what `wanted` names: an adapter, adapter/shard, `vote`, or (None) everything.

    Raises RefusedError.
    """
    state, _ = session.state(plan)
    known = [(unit.name, unit.key) for unit in state.units]
    if wanted is None:
        return tuple(known)
    found = tuple((name, key) for name, key in known if name == wanted)
    if not found and wanted != "vote":
        some = ", ".join(adapter.name for adapter in plan.adapters)
        raise RefusedError(
            f"run {plan.run} has no artifact {wanted!r}: give an adapter ({some}), adapter/shard, or vote",
            ExitCode.NOT_FOUND,
        )
    return found


def heading(part: LogPart) -> Iterator[str]:
    """Lines over a log: which attempts it is of, where and when, and how they ended."""
    (_, first), *_ = part.attempts
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(part.started))
    yield f"== {when} on {first.worker}"
    for name, attempt in part.attempts:
        yield f"== {name}, attempt {attempt.epoch}: {_outcome(attempt)}"


def _outcome(attempt: Attempt) -> str:
    if attempt.outcome is None:
        return "at work"
    error = f", {attempt.error_class}" if attempt.error_class else ""
    return f"{attempt.outcome}{error}{f': {attempt.error}' if attempt.error else ''}"


class _Tail:
    """Shows what was not shown yet: how attempts stand when that changes, and logs as they grow, by whole lines."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._read: dict[str, int] = {}
        self._rest: dict[str, bytes] = {}
        self._stood: dict[tuple[str, int], str] = {}

    def show(self, parts: Sequence[LogPart], *, last: bool = False) -> None:
        """`last`: also what has no end of line yet."""
        for part in parts:
            changed = [p for p in part.attempts if self._stood.get((p[1].key, p[1].epoch)) != _outcome(p[1])]
            if changed:
                self._stood.update(((attempt.key, attempt.epoch), _outcome(attempt)) for _, attempt in changed)
                self.attempts(part, changed)
            for line in self._grown(part.log, last):
                self.line(part, line)

    def attempts(self, part: LogPart, changed: Sequence[tuple[str, Attempt]]) -> None:
        for line in heading(LogPart(part.log, tuple(changed))):
            click.echo(click.style(line, bold=True))

    def line(self, part: LogPart, line: str) -> None:
        click.echo(line)

    def _grown(self, log: str, last: bool) -> list[str]:
        try:
            data = self._home.store.read(self._home.root / log, self._read.get(log, 0))
        except FileNotFoundError:
            data = b""
        self._read[log] = self._read.get(log, 0) + len(data)
        whole, _, rest = (self._rest.get(log, b"") + data).rpartition(b"\n")
        if last and rest:
            whole, rest = whole + b"\n" + rest if whole else rest, b""
        self._rest[log] = rest
        return whole.decode("utf-8", "replace").split("\n") if whole else []


class _JsonTail(_Tail):
    """The same, an object a line."""

    def attempts(self, part: LogPart, changed: Sequence[tuple[str, Attempt]]) -> None:
        for name, attempt in changed:
            _echo({"kind": "attempt", "name": name, **asdict(attempt)})

    def line(self, part: LogPart, line: str) -> None:
        (_, first), *_ = part.attempts
        read = read_line(line)
        shared = [{"name": name, "key": attempt.key, "epoch": attempt.epoch} for name, attempt in part.attempts]
        _echo(
            {
                "kind": "line",
                "time": read.time,
                "run": read.run or first.run,
                "artifacts": shared,
                "host": first.host,
                "worker": first.worker,
                "log": part.log,
                "text": read.text,
            }
        )


def _echo(record: Mapping[str, object]) -> None:
    click.echo(json.dumps(record, ensure_ascii=False))


@click.command()
@run_argument
@click.argument("artifact", required=False, metavar="[ARTIFACT]")
@click.option("-f", "--follow", is_flag=True, help="go on until the run ends")
@json_option
@click.pass_obj
def logs(session: Session, run: str | None, artifact: str | None, follow: bool, as_json: bool) -> None:
    """Print the logs of RUN's attempts, the earliest first, whichever machines they ran on.

    ARTIFACT is an adapter's name, adapter/shard, or `vote`. Attempts of one message share their log. Each line begins
    with its time, run and artifacts. What the processes of `nonet up` themselves say lies in the folder fleet/logs of
    the home.

    \b
    --json prints an object a line; fields are added to it, never changed:
      kind attempt: name, key, epoch, host, worker, run, log, group, started,
        outcome, error_class, error, ended (null while it goes on)
      kind line: time (or null), run, artifacts (list of name, key, epoch),
        host, worker, log, text
    """
    plan = session.plan(run)
    tail = (_JsonTail if as_json else _Tail)(session.home)
    parts = log_parts(session, artifacts(session, plan, artifact))
    if not parts and not follow:
        click.echo(f"{plan.run}: no attempt yet{f' at {artifact}' if artifact else ''}", err=True)
    try:
        while follow and session.state(plan)[0].phase is Phase.RUNNING:
            tail.show(parts)
            time.sleep(max(_FOLLOW_SECONDS, session.home.store.look_seconds))
            parts = log_parts(session, artifacts(session, plan, artifact))
    except KeyboardInterrupt:
        return
    tail.show(log_parts(session, artifacts(session, plan, artifact)), last=True)
