"""The pages: all runs, one run, one unit's attempts with their logs; and the buttons. Knows addresses, not markup."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tornado.web import HTTPError, RequestHandler

from cli.errors import RefusedError
from cli.logs import LogPart, heading, log_parts
from cli.page.desk import FOLDER, HEADERS, Page
from cli.page.grid import WORDS, grid_of
from cli.page.readings import Reading, Readings, RunReader
from cli.rerun import forgivable, forgive, stop
from cli.session import Session, waiting_note
from cli.view import LEGEND, MARKS, progress_lines
from scheduler.reconcile import rerun_units
from scheduler.state import Phase, UnitState, UnitStatus

log = logging.getLogger("nonet.page")

RUNS = 50
"""How many runs, the latest submitted, are listed."""
FAILURES = 20
CELLS = 1000
"""Most cells of one list."""
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
"""The report has its styles inside and no script."""
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
            return [(run, _looked(readings, run)) for run in readings.session.runs()[::-1][:RUNS]]

        found = await self.desk.in_thread(look)
        self.show("runs.html.jinja", found=found, most=RUNS, title="Runs")


def _looked(readings: Readings, run: str) -> Reading | None:
    """None for a run whose plan cannot be read, as one of another version of Nonet."""
    try:
        return readings.of(run).look()
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
        state, home = reading.state, reader.session.home
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
            "view": reader.view(reading),
            "submission": _if_there(reader, home.submission(state.plan.run, state.plan.submission)),
            "report": _if_there(reader, home.report(state.plan.run)),
        }


def _if_there(reader: RunReader, path: Path) -> str | None:
    store = reader.session.store
    return store.place(path) if store.exists(path) else None


class CellsPage(Page):
    """`/runs/<run>/cells/<adapter>/<start>-<stop>`: the cells that one box of a large run's grid stands for."""

    async def get(self, run: str, adapter: str, start: str, stop: str) -> None:
        self.show(
            "cells.html.jinja", **await self.desk.in_thread(self._values, run, *map(_number, (adapter, start, stop)))
        )

    def _values(self, run: str, adapter: int, start: int, stop: int) -> dict[str, Any]:
        reader = self.desk.readings.of(run)
        state = reader.look().state
        stop = min(stop, start + CELLS, len(state.plan.shards))
        if adapter >= len(state.adapters) or start >= stop:
            raise HTTPError(404, reason="The run has no such cells")
        return {
            "run": reader.plan.run,
            "title": f"{state.adapters[adapter].name} – {reader.plan.run}",
            "adapter": state.adapters[adapter].name,
            "cells": [state.cell_at(adapter, shard) for shard in range(start, stop)],
            "words": WORDS,
        }


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
    return ShownLog(part, tuple(line.removeprefix("== ") for line in heading(part)), text, len(data) > LOG_BYTES)


class ReportFile(Page):
    """`/runs/<run>/report`: report.html as the run left it."""

    async def get(self, run: str) -> None:
        reader = self.desk.readings.of(run)
        path = reader.session.home.report(reader.plan.run)
        self.set_header("Content-Security-Policy", REPORT_POLICY)
        self.finish(await self.desk.in_thread(_read, reader.session, path))


class SubmissionFile(Page):
    """`/runs/<run>/submission`: the submission, to keep."""

    async def get(self, run: str) -> None:
        reader = self.desk.readings.of(run)
        plan = reader.plan
        data = await self.desk.in_thread(
            _read, reader.session, reader.session.home.submission(plan.run, plan.submission)
        )
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f'attachment; filename="{plan.run}-{plan.submission}"')
        self.finish(data)


def _read(session: Session, path: Path) -> bytes:
    try:
        return session.store.read(path)
    except FileNotFoundError:
        raise HTTPError(404, reason="It is not there yet") from None


class RerunButton(Page):
    """`/runs/<run>/rerun`: what `nonet rerun --failed` does; with `unit`, the one unit and what it needs."""

    changes = True

    async def post(self, run: str) -> None:
        count = await self.desk.in_thread(self._again, run, self.get_body_argument("unit", ""))
        log.info("%s: %d to be tried again, asked for by %s", run, count, self.current_user)
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
        log.info("%s: %s, asked for by %s", run, done, self.current_user)
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
