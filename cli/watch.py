"""`nonet watch`: a run until it ends, as a live screen on a terminal and as lines elsewhere. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

import click
from rich.live import Live

from cli.exit_codes import OF_PHASE, ExitCode
from cli.left import left_lines
from cli.options import run_argument
from cli.screen import RunScreen, console
from cli.session import FleetSeen, Session, waiting_note
from cli.view import changes, failures, progress_lines
from nonet.runs.plan import Plan
from scheduler.state import Phase, RunState

LOOK_SECONDS = 1.0
"""Between two looks at storage."""
FORECAST_SECONDS = 3.0
"""Between two forecasts."""
PROGRESS_SECONDS = 30.0
"""Between two lines of progress where there is no terminal."""


def watch_run(session: Session, plan: Plan, timeout: float | None = None) -> ExitCode:
    """Follow the run of `plan` as a visitor: Ctrl-C ends the view and leaves the run going. Raises OSError."""
    hint = f"Ctrl-C ends this view; the run goes on (nonet cancel {plan.run} stops it)"
    try:
        phase = follow_run(
            session, plan, hint=lambda: "; ".join(session.refusal_lines(plan.run)) or hint, timeout=timeout
        )
    except KeyboardInterrupt:
        click.echo(f"\nno longer watching; the run goes on: nonet watch {plan.run}", err=True)
        return ExitCode.GOING
    if phase is Phase.COMPLETE:
        click.echo(f"submission: {session.submission_place(plan)}")
    if phase is Phase.RUNNING:
        click.echo(f"the run still goes on: nonet watch {plan.run}", err=True)
    return OF_PHASE[phase]


def follow_run(
    session: Session,
    plan: Plan,
    *,
    hint: Callable[[], str],
    timeout: float | None = None,
) -> Phase:
    """Show the run of `plan` until it ends or `timeout` seconds have passed.

    `hint` is called at each look; what it gives stands under the grid. Raises OSError, KeyboardInterrupt.
    """
    looks = Looks(session, plan, timeout)
    return (_live(looks, hint) if console().is_terminal else _lines(looks, hint)).phase


class Looks:
    """The states of a run, a look a second, to the first that is not running, or for `timeout` seconds if any."""

    def __init__(self, session: Session, plan: Plan, timeout: float | None) -> None:
        self._session, self._plan = session, plan
        self._end = None if timeout is None else time.monotonic() + timeout
        self._left: tuple[str, ...] = ()
        self._next_left = 0.0

    def now(self) -> tuple[RunState, FleetSeen]:
        return self._session.state(self._plan)

    def left(self, state: RunState) -> tuple[str, ...]:
        """The time left in words, looked at every FORECAST_SECONDS."""
        if state.phase is not Phase.RUNNING:
            return ()
        if time.monotonic() >= self._next_left:
            self._left = tuple(left_lines(self._session.forecast(state), self._plan))
            self._next_left = time.monotonic() + FORECAST_SECONDS
        return self._left

    def last(self, state: RunState) -> bool:
        return state.phase is not Phase.RUNNING or (self._end is not None and time.monotonic() >= self._end)

    def wait(self) -> None:
        left = LOOK_SECONDS if self._end is None else self._end - time.monotonic()
        time.sleep(max(0.0, min(LOOK_SECONDS, left)))


def _live(looks: Looks, hint: Callable[[], str]) -> RunState:
    state, seen = looks.now()
    with Live(
        RunScreen(state, seen, hint(), looks.left(state)), console=console(), auto_refresh=False, transient=False
    ) as live:
        while not looks.last(state):
            looks.wait()
            state, seen = looks.now()
            live.update(RunScreen(state, seen, hint(), looks.left(state)), refresh=True)
        live.update(RunScreen(state, seen), refresh=True)
    return state


def _lines(looks: Looks, hint: Callable[[], str]) -> RunState:
    """One line a change, with the time of day, and the progress of what works every now and then."""
    before: RunState | None = None
    noted: str | None = None
    said: str | None = None
    told = time.monotonic()
    while True:
        state, seen = looks.now()
        note = waiting_note(seen, state.phase)
        if note != noted:
            _say(note or "the fleet answers again")
        noted = note
        for line in changes(before, state):
            _say(line)
        hinted = hint()
        if said is not None and hinted != said:
            _say(hinted)
        said = hinted
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            for line in (*progress_lines(state), *looks.left(state)):
                _say(line)
        before = state
        if looks.last(state):
            for line in failures(state, state.plan.run):
                click.echo(line)
            return state
        looks.wait()


def _say(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {line}")


@click.command()
@run_argument
@click.option("--timeout", type=click.FloatRange(min=0), help="seconds after which to leave (exit code 5)")
@click.pass_obj
def watch(session: Session, run: str | None, timeout: float | None) -> int:
    """Follow RUN until it ends: a live grid on a terminal, one line a change elsewhere.

    Ctrl-C leaves the run going. Exit codes: 0 complete, 4 blocked by failures, 5 still going, 6 cancelled.
    """
    return watch_run(session, session.plan(run), timeout)
