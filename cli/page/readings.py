"""Readings: what a look at a run found, kept for a moment so that many viewers cost storage no more than one.

Knows how old a reading may be; what is read, and in which words, is `cli.session`'s matter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from cli.left import left_lines
from cli.page.figures import Curve, Timeline, curves_of, timeline_of
from cli.page.forming import Forming, Tally
from cli.session import FleetSeen, Session
from nonet.report.facts import losses_of
from nonet.report.timeline import Span, Unit, Work, spans_of
from nonet.runs.attempt import Attempt
from nonet.runs.plan import ADAPTERS, Plan
from nonet.stores.storage import DamagedError
from scheduler.state import Phase, RunState, UnitState, UnitStatus

FRESH_SECONDS = 2.0
"""For how long a reading of a run that goes on serves everybody; longer by as much as it takes to read."""
ENDED_SECONDS = 20.0
"""The same for a run that is complete or cancelled."""
HISTORIES = 500
"""Most units whose attempts are read for the first time in one look: a large run's timeline fills up look by look."""


@dataclass(frozen=True)
class Reading:
    """A run as a look found it, good `until` then (monotonic); `notes` and time `left` as `nonet status` says."""

    state: RunState
    seen: FleetSeen
    notes: tuple[str, ...]
    left: tuple[str, ...]
    until: float

    @cached_property
    def units(self) -> Mapping[str, UnitStatus]:
        """The run's units by key."""
        return {unit.key: unit for unit in self.state.units}


@dataclass(frozen=True, slots=True)
class View:
    """Figures and the vote so far. `unread` units' attempts are in no figure yet, `uncounted` cells in no tally; no
    tally at all where a run is `too_large` for it, or its inputs are damaged."""

    timeline: Timeline | None
    unread: int
    curves: tuple[Curve, ...]
    tally: Tally | None
    uncounted: int
    too_large: bool


class RunReader:
    """Looks at one run."""

    def __init__(self, session: Session, plan: Plan) -> None:
        self.plan = plan
        self.session = session
        self._lock = threading.Lock()
        self._reading: Reading | None = None
        self._histories: dict[str, tuple[Attempt, ...]] = {}
        self._losses: dict[str, tuple[tuple[int, float], ...]] = {}
        self._forming = Forming(session.storage, plan)
        self._view: tuple[Reading, View] | None = None

    def look(self) -> Reading:
        """The run now, or as it was a moment ago; raises OSError."""
        with self._lock:
            if self._reading is None or time.monotonic() > self._reading.until:
                self._reading = self._read()
            return self._reading

    def forget(self) -> None:
        """Look afresh the next time."""
        with self._lock:
            self._reading = None

    def view(self, reading: Reading) -> View:
        """The rest that a run's page shows; made once for each reading. Raises OSError."""
        with self._lock:
            if self._view is None or self._view[0] is not reading:
                self._view = reading, self._viewed(reading)
            return self._view[1]

    def _viewed(self, reading: Reading) -> View:
        self._forming.count(reading.state)
        spans, unread = self._spans(reading)
        tally = None
        if not self._forming.too_large:
            with suppress(DamagedError, ValueError, KeyError):
                tally = self._forming.tally()
        return View(
            timeline=timeline_of(spans, time.time()),
            unread=unread,
            curves=curves_of(self._trained(reading)),
            tally=tally,
            uncounted=self._forming.waiting,
            too_large=self._forming.too_large,
        )

    def _trained(self, reading: Reading) -> Mapping[str, tuple[tuple[int, float], ...]]:
        """(step, loss) of each step, by the name of the adapter, of those that are trained."""
        for unit in reading.state.adapters:
            if unit.state is UnitState.COMMITTED and unit.key not in self._losses:
                commit = self.session.storage.record(ADAPTERS, unit.key)
                data = None if commit is None else self.session.storage.content(commit, "losses.json")
                self._losses[unit.key] = losses_of(data)
        return {u.name: found for u in reading.state.adapters if (found := self._losses.get(u.key))}

    def _spans(self, reading: Reading) -> tuple[tuple[Span, ...], int]:
        """The attempts of `reading` as spans, and how many units' attempts are still to be read."""
        units = [*_works(reading.state)]
        ended = [u for u, status in units if status.state is UnitState.COMMITTED]
        new = [unit for unit in ended if unit.key not in self._histories]
        for unit in new[:HISTORIES]:
            self._histories[unit.key] = self.session.attempts.history(unit.key)
        tried = [u for u, status in units if status.attempts and status.state is not UnitState.COMMITTED]
        live = {unit.key: self.session.attempts.history(unit.key) for unit in tried[:HISTORIES]}
        known = {**self._histories, **live}
        pairs = [(unit, attempt) for unit, _ in units for attempt in known.get(unit.key, ())]
        return spans_of(pairs, self.plan.run), max(0, len(new) - HISTORIES) + max(0, len(tried) - HISTORIES)

    def _read(self) -> Reading:
        begun = time.monotonic()
        state, seen = self.session.state(self.plan)
        if seen in (FleetSeen.AWAY, FleetSeen.UNKNOWN):
            self.session.forget_fleet()
        notes = tuple(self._notes(state))
        going = state.phase is Phase.RUNNING
        left = tuple(left_lines(self.session.forecast(state), self.plan)) if going else ()
        took = time.monotonic() - begun
        fresh = ENDED_SECONDS if state.phase in (Phase.COMPLETE, Phase.CANCELLED) else FRESH_SECONDS
        return Reading(state, seen, notes, left, time.monotonic() + fresh + took)

    def _notes(self, state: RunState) -> Iterable[str]:
        short = self.session.store.shortage(self.session.settings.reserve)
        if short is not None:
            yield f"paused: {short}"
        if state.phase is Phase.RUNNING:
            yield from self.session.refusal_lines(self.plan.run)


def _works(state: RunState) -> Iterable[tuple[Unit, UnitStatus]]:
    yield from ((Unit(u.key, u.name, Work.TRAIN), u) for u in state.adapters)
    yield from ((Unit(u.key, u.name, Work.INFER), u) for u in state.cells)
    if state.vote is not None:
        yield Unit(state.vote.key, state.vote.name, Work.VOTE), state.vote


class Readings:
    """The readers of all runs."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._readers: dict[str, RunReader] = {}

    def of(self, run: str) -> RunReader:
        """The reader of the run that `run` names, as a session has it; raises RefusedError, OSError."""
        if run not in self._readers:
            plan = self.session.plan(run)
            return self._readers.setdefault(plan.run, RunReader(self.session, plan))
        return self._readers[run]
