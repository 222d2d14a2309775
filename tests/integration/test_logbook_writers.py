"""Runs that end at the same time, each in a process of its own: every one of them stays in log.xlsx."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas

from nonet.runs.plan import Plan, plan_from_json
from nonet.runs.result import write_result
from nonet.voting.aggregation import aggregate, spec_of
from tests.cli_home import CliHome, write_files
from tests.rig import ROOT

WRITERS = 6
ROUNDS = 3
"""How often all writers end a run at once."""
PAUSE = 0.1
"""Seconds between two ends. Who ends first waits longest between reading and writing, as on slow storage, and so writes
last: without the second look of `write_logbook` its file lacks all others."""
WRITER = """
import sys, time
from pathlib import Path
import xlsxwriter
from nonet.stores.home import Home
from nonet.stores.storage import Storage
from nonet.runs import workbook
from nonet.runs.workbook import write_logbook
made, pauses = workbook.workbook_bytes, []

def slow(book):
    time.sleep(pauses.pop() if pauses else 0)
    return made(book)

workbook.workbook_bytes = slow
home, *runs = sys.argv[1:]
storage = Storage(Home(Path(home)))
for run in runs:
    print("ready", flush=True)
    begin, pause = map(float, sys.stdin.readline().split())
    time.sleep(begin)
    pauses.append(pause)
    folder = storage.home.run(run)
    (folder / "held").rename(folder / "submission.jsonl.manifest.json")
    write_logbook(storage)
    print("written", flush=True)
"""


def held(here: CliHome, plan: Plan, runs: list[list[str]]) -> None:
    """The run of `plan` under other names, each with its manifest at hand that makes it an ended one."""
    here.answer(plan, {"both": "A", "gold": "A", "more": "B"})
    result = aggregate(here.storage, plan, spec_of(plan))
    for run in [name for names in runs for name in names]:
        here.home.run(run).mkdir()
        here.home.plan(run).write_bytes(here.home.plan(plan.run).read_bytes().replace(plan.run.encode(), run.encode()))
        copy = plan_from_json(here.home.plan(run).read_bytes())
        write_result(here.home, copy, result.submission, result.manifest)
        here.home.manifest(run, copy.submission).rename(here.home.run(run) / "held")


def test_no_writer_undoes_another_ones_row(tmp_path: Path) -> None:
    here = CliHome(tmp_path, write_files(tmp_path))
    runs = [[f"run-{writer}-{at}" for at in range(ROUNDS)] for writer in range(WRITERS)]
    held(here, here.submit(), runs)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(here.home.root), *names],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for names in runs
    ]
    try:
        for at in range(ROUNDS):
            assert told(writers) == ["ready"] * WRITERS
            for place, writer in enumerate(writers):
                assert writer.stdin is not None
                turn = (place + at) % WRITERS
                writer.stdin.write(f"{PAUSE * turn} {2 * PAUSE * (WRITERS - 1 - turn)}\n")
            assert told(writers) == ["written"] * WRITERS
            sheet = pandas.read_excel(here.home.logbook, sheet_name="base")
            voted = sheet[sheet["mix"] == "vote: majority"]["run"]
            assert sorted(voted) == sorted(name for names in runs for name in names[: at + 1]), f"round {at}"
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def told(writers: list[subprocess.Popen[str]]) -> list[str]:
    """The next line of each writer."""
    return [writer.stdout.readline().strip() for writer in writers if writer.stdout is not None]
