"""`nonet logs`: the attempts at a run's artifacts with what they logged. Knows where logs lie, not what is in them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import click

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.options import run_argument
from cli.session import Session
from nonet.attempt import Attempt
from nonet.home import Home
from nonet.plan import Plan
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
    """Prints what was not printed yet: headings when they change, logs as they grow."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._printed: dict[str, int] = {}
        self._headings: dict[str, tuple[str, ...]] = {}

    def show(self, parts: Sequence[LogPart]) -> None:
        for part in parts:
            lines = tuple(heading(part))
            if self._headings.get(part.log) != lines:
                known = self._headings.get(part.log, ())
                for line in lines:
                    if line not in known:
                        click.echo(click.style(line, bold=True))
                self._headings[part.log] = lines
            self._grown(part.log)

    def _grown(self, log: str) -> None:
        try:
            data = self._home.store.read(self._home.root / log, self._printed.get(log, 0))
        except FileNotFoundError:
            return
        if data:
            self._printed[log] = self._printed.get(log, 0) + len(data)
            click.echo(data.decode("utf-8", "replace"), nl=not data.endswith(b"\n"))


@click.command()
@run_argument
@click.argument("artifact", required=False, metavar="[ARTIFACT]")
@click.option("-f", "--follow", is_flag=True, help="go on until the run ends")
@click.pass_obj
def logs(session: Session, run: str | None, artifact: str | None, follow: bool) -> None:
    """Print the logs of RUN's attempts, the earliest first.

    ARTIFACT is an adapter's name, adapter/shard, or `vote`. Attempts of one message share their log. What the
    processes of `nonet up` themselves say lies in the folder fleet/logs of the home.
    """
    plan = session.plan(run)
    tail = _Tail(session.home)
    names = artifacts(session, plan, artifact)
    parts = log_parts(session, names)
    tail.show(parts)
    if not parts and not follow:
        click.echo(f"{plan.run}: no attempt yet{f' at {artifact}' if artifact else ''}", err=True)
    try:
        while follow and session.state(plan)[0].phase is Phase.RUNNING:
            time.sleep(_FOLLOW_SECONDS)
            tail.show(log_parts(session, artifacts(session, plan, artifact)))
    except KeyboardInterrupt:
        return
