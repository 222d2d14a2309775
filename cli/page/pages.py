"""The pages: all runs, one run, one unit's attempts with their logs; and the buttons. Knows addresses, not markup."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tornado.web import HTTPError, RequestHandler

from cli.logs import LogPart, heading, log_parts
from cli.page.desk import FOLDER, HEADERS, Page
from cli.page.figures import curves_of, timeline_of
from cli.page.grid import grid_of
from cli.page.readings import Reading, RunReader
from cli.rerun import forgivable, forgive, stop
from cli.session import Session, waiting_note
from cli.view import LEGEND, MARKS, progress_lines
from nonet.storage import DamagedError
from scheduler.reconcile import rerun_units
from scheduler.state import Phase, UnitState, UnitStatus

RUNS = 50
"""How many runs, the latest submitted, are listed."""
FAILURES = 20
LOG_BYTES = 40_000
"""Of each log, its end."""
ASSETS = {
    "page.css": (FOLDER / "page.css", "text/css"),
    "page.js": (FOLDER / "page.js", "text/javascript"),
    "icon.svg": (FOLDER / "icon.svg", "image/svg+xml"),
    "report.css": (FOLDER.parents[1] / "nonet" / "report" / "page.css", "text/css"),
}


class RunsPage(Page):
    """`/`: the runs, the latest first."""

    async def get(self) -> None:
        readings = self.desk.readings

        def look() -> list[tuple[str, Reading | None]]:
            runs = readings.session.runs()[::-1]
            return [(run, _looked(lambda run=run: readings.of(run).look())) for run in runs[:RUNS]]

        found = await self.desk.in_thread(look)
        self.show("runs.html.jinja", found=found, most=RUNS, title="Runs")


def _looked(look: Any) -> Reading | None:
    """None for a run whose plan cannot be read, as one of another version of Nonet."""
    from cli.errors import RefusedError

    try:
        reading: Reading = look()
        return reading
    except RefusedError:
        return None


class RunPage(Page):
    """`/runs/<run>`."""

    async def get(self, run: str) -> None:
        values = await self.desk.in_thread(self._values, run, _number(self.get_argument("from", "0")))
        done = self.get_argument("done", "")
        self.show("run.html.jinja", **values, done=done, count=_number(self.get_argument("count", "0")))

    def _values(self, run: str, start: int) -> dict[str, Any]:
        reader = self.desk.readings.of(run)
        reading = reader.look()
        state = reading.state
        forming = reader.forming(reading)
        tally = None
        if not forming.too_large:
            with suppress(DamagedError, ValueError, KeyError):
                tally = forming.tally()
        spans, unread = reader.spans(reading)
        home = reader.session.home
        return {
            "run": state.plan.run,
            "title": state.plan.run,
            "state": state,
            "note": waiting_note(reading.seen, state.phase),
            "notes": reading.notes,
            "left": [line.split("  ", 1) for line in reading.left],
            "grid": grid_of(state, start),
            "legend": [(MARKS[found].symbol, found, word) for found, word in LEGEND],
            "working": list(progress_lines(state)),
            "failed": state.failed,
            "most_failures": FAILURES,
            "forgivable": forgivable(state, rerun_units(state, failed=True, adapters=(), shards=())),
            "forming": forming,
            "tally": tally,
            "timeline": timeline_of(spans, time.time()),
            "unread": unread,
            "curves": curves_of(reader.losses(reading)),
            "submission": _if_there(reader, home.submission(state.plan.run, state.plan.submission)),
            "report": _if_there(reader, home.report(state.plan.run)),
        }


def _if_there(reader: RunReader, path: Path) -> str | None:
    store = reader.session.store
    return store.place(path) if store.exists(path) else None


@dataclass(frozen=True, slots=True)
class ShownLog:
    """One log with its attempts; `text` is its end, `cut` whether there is more before."""

    part: LogPart
    heading: tuple[str, ...]
    text: str
    cut: bool


class UnitPage(Page):
    """`/runs/<run>/units/<key>`: the attempts at one unit."""

    async def get(self, run: str, key: str) -> None:
        self.show("unit.html.jinja", **await self.desk.in_thread(self._values, run, key))

    def _values(self, run: str, key: str) -> dict[str, Any]:
        reader = self.desk.readings.of(run)
        reading = reader.look()
        unit = unit_of(reading, key)
        logs = [_shown(reader.session, part) for part in log_parts(reader.session, [(unit.name, unit.key)])]
        return {
            "run": reader.plan.run,
            "title": f"{unit.name} – {reader.plan.run}",
            "unit": unit,
            "logs": logs[::-1],
            "failed": unit.state is UnitState.FAILED,
        }


def unit_of(reading: Reading, key: str) -> UnitStatus:
    """The unit with `key`; raises HTTPError."""
    try:
        return reading.units[key]
    except KeyError:
        raise HTTPError(404, reason="The run has no unit with this key") from None


def _shown(session: Session, part: LogPart) -> ShownLog:
    data = b""
    with suppress(FileNotFoundError):
        data = session.home.store.read(session.home.root / part.log)
    text = data[-LOG_BYTES:].decode("utf-8", "replace")
    return ShownLog(part, tuple(heading(part)), text, len(data) > LOG_BYTES)


class RerunButton(Page):
    """`/runs/<run>/rerun`: what `nonet rerun --failed` does; with `unit`, the one unit and what it needs."""

    changes = True

    async def post(self, run: str) -> None:
        count = await self.desk.in_thread(self._again, run, self.get_body_argument("unit", ""))
        self.redirect(f"/runs/{run}?done=rerun&count={count}", status=303)

    def _again(self, run: str, key: str) -> int:
        reader = self.desk.readings.of(run)
        reader.forget()
        reading = reader.look()
        failed = rerun_units(reading.state, failed=True, adapters=(), shards=())
        again = forgivable(reading.state, (unit_of(reading, key),) if key else failed)
        forgive(reader.session, reader.plan, again)
        reader.forget()
        return len(again)


class CancelButton(Page):
    """`/runs/<run>/cancel`: what `nonet cancel` does."""

    changes = True

    async def post(self, run: str) -> None:
        done = await self.desk.in_thread(self._cancel, run)
        self.redirect(f"/runs/{run}?done={done}", status=303)

    def _cancel(self, run: str) -> str:
        reader = self.desk.readings.of(run)
        reader.forget()
        if reader.look().state.phase is Phase.COMPLETE:
            return "complete"
        stop(reader.session, reader.plan)
        reader.forget()
        return "cancel"


class Missing(Page):
    """Every other address."""

    def prepare(self) -> None:
        super().prepare()
        if not self._finished:
            raise HTTPError(404)


class Asset(RequestHandler):
    """`/static/…`: the page's own style and script."""

    def set_default_headers(self) -> None:
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.set_header("Cache-Control", "no-cache")

    def get(self, name: str) -> None:
        path, kind = ASSETS[name]
        self.set_header("Content-Type", f"{kind}; charset=utf-8")
        self.finish(path.read_bytes())


class Health(RequestHandler):
    """`/healthcheck`: that the server answers; it tells nothing else and asks for no login."""

    def get(self) -> None:
        self.finish("OK")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
