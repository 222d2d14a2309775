"""What a command works with: settings, storage, the runs on it, the fleet if it answers. Knows how to find a run."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property

import redis

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from config.settings import NoFleetError, Settings
from nonet.runs.attempt import Attempts
from nonet.runs.logbook import runs_of
from nonet.runs.plan import Plan, ballots_scope, plan_from_json
from nonet.stores.home import Home
from nonet.stores.storage import Storage
from scheduler.forecast import Forecast, LiveWorker, forecast
from scheduler.inflight import RedisInFlight, UnknownInFlight
from scheduler.rates import RateReader
from scheduler.state import Phase, RunState, StateReader
from tasks.context import connect
from tasks.refusal import refusals
from tasks.vitals import read_vitals
from tasks.wake import wake

LATEST = "latest"


class FleetSeen(StrEnum):
    """What a command could see of the fleet's Redis."""

    REACHABLE = "reachable"
    FULL = "full"  # it answers, but has no memory left
    AWAY = "away"  # its address is known, it does not answer
    UNKNOWN = "unknown"  # nobody said where it is


class Session:
    """One invocation of the command."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home: Home = settings.storage_home
        self.storage = Storage(self.home)
        self.store = self.home.store
        self.attempts = Attempts(self.home)

    @cached_property
    def client(self) -> redis.Redis:
        """The fleet's Redis, not asked yet; raises NoFleetError, RefusedError."""
        try:
            return connect(self.settings.redis())
        except ValueError as error:
            raise RefusedError(f"NONET_REDIS_URL is not the URL of a Redis: {error}", ExitCode.USAGE) from None

    def forget_fleet(self) -> None:
        """Look afresh where the fleet's Redis is: a fleet that was started again has another."""
        for name in ("_reader", "_in_flight", "client"):
            self.__dict__.pop(name, None)

    def redis_url(self) -> str:
        """URL of the fleet's Redis, well-formed; raises NoFleetError, RefusedError."""
        self.client.close()
        return self.settings.redis()

    def runs(self) -> tuple[str, ...]:
        """Ids of all runs, the latest submitted last."""
        return runs_of(self.storage)

    def plan(self, run: str | None) -> Plan:
        """The plan of the run that `run` names: its id, a unique prefix of it, or `latest` (None too).

        Raises RefusedError where there is none or more than one, and for an unreadable plan.
        """
        name = self._run_id(run)
        try:
            return plan_from_json(self.store.read(self.home.plan(name)))
        except (ValueError, KeyError, TypeError) as error:
            message = f"{self.store.place(self.home.plan(name))} cannot be read ({error}); submit its batch again"
            raise RefusedError(message, ExitCode.STORAGE) from error

    def state(self, plan: Plan) -> tuple[RunState, FleetSeen]:
        """The state of the run of `plan`; without Redis, what waits in its queues is not known. Raises OSError."""
        try:
            seen = FleetSeen.FULL if self._in_flight.full() else FleetSeen.REACHABLE
            return self._reader.read(plan), seen
        except NoFleetError:
            seen = FleetSeen.UNKNOWN
        except redis.exceptions.OutOfMemoryError:
            seen = FleetSeen.FULL
        except redis.RedisError:
            seen = FleetSeen.AWAY
        return self._blind_reader.read(plan), seen

    @cached_property
    def _in_flight(self) -> RedisInFlight:
        return RedisInFlight(self.client, self.settings.lease_seconds)

    @cached_property
    def _reader(self) -> StateReader:
        """Kept, since it knows the last look: the next one of a large run takes less."""
        return StateReader(self.storage, self.attempts, self._in_flight, self.settings.failure_limit)

    @cached_property
    def _blind_reader(self) -> StateReader:
        return StateReader(self.storage, self.attempts, UnknownInFlight(), self.settings.failure_limit)

    def workers(self) -> tuple[LiveWorker, ...]:
        """The workers that are up, as their vital signs tell; none where no Redis says."""
        try:
            signs = [sign for sign in read_vitals(self.client) if sign["role"] == "worker"]
        except (NoFleetError, redis.RedisError):
            return ()
        return tuple(
            LiveWorker(sign["name"], frozenset(map(str, sign.get("queues") or ())), bool(sign.get("gpus")))
            for sign in signs
        )

    def forecast(self, state: RunState) -> Forecast:
        """How long the run of `state` still takes; raises OSError."""
        up = self.workers()
        return forecast(state, self._rates.rates(state.plan, [worker.name for worker in up]), up)

    @cached_property
    def _rates(self) -> RateReader:
        return RateReader(self.storage, self.attempts)

    def refused(self, plan: Plan, error: ValueError) -> RefusedError:
        """What to raise for ballots that cannot be counted as asked: because some are still to come, or in any case."""
        committed = {ballots_scope(a.key): self.storage.committed(ballots_scope(a.key)) for a in plan.adapters}
        answered = all(cell.key in committed[cell.scope] for cell in plan.cells)
        if answered:
            return RefusedError(f"{plan.run}: {error}", ExitCode.BAD_INPUT)
        return RefusedError(
            f"{plan.run}: {error}; ballots are still to come: nonet status {plan.run}", ExitCode.BLOCKED
        )

    def refusals(self, run: str) -> Mapping[str, str]:
        """Why workers left work of `run` to others lately, by worker; empty where no Redis says."""
        try:
            return refusals(self.client, run)
        except (NoFleetError, redis.RedisError):
            return {}

    def refusal_lines(self, run: str) -> list[str]:
        """A line for each worker that lately left work of `run` to others, with its reason."""
        return [f"refused by {worker}: {reason}" for worker, reason in self.refusals(run).items()]

    def unfinished(self) -> tuple[str, ...]:
        """Ids of the runs that go on or are blocked."""
        phases = {name: self.state(self.plan(name))[0].phase for name in self.runs()}
        return tuple(name for name, phase in phases.items() if phase in (Phase.RUNNING, Phase.BLOCKED))

    def wake(self) -> FleetSeen:
        """Wake the scheduler; what was seen of Redis on the way."""
        try:
            self.client.ping()
        except NoFleetError:
            return FleetSeen.UNKNOWN
        except redis.RedisError:
            return FleetSeen.AWAY
        wake(self.client)
        return FleetSeen.REACHABLE

    def submission_place(self, plan: Plan) -> str:
        """Where the submission of the run of `plan` lies, or will lie, for people."""
        return self.store.place(self.home.submission(plan.run, plan.submission))

    def _run_id(self, run: str | None) -> str:
        runs = self.runs()
        if not runs:
            message = f"no run under {self.store.url}; submit one with `nonet submit BATCH`, or give another --home"
            raise RefusedError(message, ExitCode.NOT_FOUND)
        if run is None or run == LATEST:
            return runs[-1]
        found = [run] if run in runs else [name for name in runs if name.startswith(run)]
        if len(found) == 1:
            return found[0]
        if found:
            raise RefusedError(f"{run!r} may be {' or '.join(found)}; give more of it", ExitCode.NOT_FOUND)
        raise RefusedError(f"no run {run!r} under {self.store.url}; there are {', '.join(runs)}", ExitCode.NOT_FOUND)


def waiting_note(seen: FleetSeen, phase: Phase = Phase.RUNNING) -> str | None:
    """What to say when no fleet could be reached; None when all is well, or no fleet is needed."""
    if phase is not Phase.RUNNING:
        return None
    if seen is FleetSeen.REACHABLE:
        return None
    if seen is FleetSeen.FULL:
        return "Redis has no memory left and refuses work: raise its maxmemory; work goes on by itself then"
    if seen is FleetSeen.AWAY:
        return (
            "Redis is away: what waits and who works is not known. The work goes on when it is back; "
            "if no fleet is running, `nonet up` starts one"
        )
    return "no fleet is known here: `nonet up` starts one, and its scheduler finds the run by itself"
