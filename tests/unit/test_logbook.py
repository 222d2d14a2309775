"""The logbook: what a row says, what stands where nothing is known, and that no run's row is lost."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from cli.exit_codes import ExitCode
from nonet.runs.logbook import Entry, Logbook, read_logbook
from nonet.runs.plan import ADAPTERS, Plan, plan_from_json
from nonet.runs.result import write_result
from nonet.runs.workbook import COLUMNS, sheet_names, workbook_bytes, write_logbook
from nonet.stores.storage import Storage
from nonet.voting.aggregation import aggregate, spec_of
from tests.cli_home import CliHome, write_files

LETTERS = {"both": "A", "gold": "A", "more": "B"}


@pytest.fixture
def here(tmp_path: Path) -> CliHome:
    return CliHome(tmp_path, write_files(tmp_path))


def train(here: CliHome, plan: Plan, *names: str) -> None:
    for adapter in plan.adapters:
        if not names or adapter.name in names:
            figures = {"steps": adapter.steps, "final_loss": 0.25, "seconds": 90.0, "peak_memory_bytes": 3 * 2**30}
            here.storage.publish(ADAPTERS, adapter.key, 1, body={"training": figures})


def end(here: CliHome, plan: Plan) -> None:
    """What the vote's task writes before it commits."""
    result = aggregate(here.storage, plan, spec_of(plan))
    write_result(here.home, plan, result.submission, result.manifest)


@pytest.fixture
def ended(here: CliHome) -> Plan:
    plan = here.submit()
    train(here, plan)
    here.answer(plan, LETTERS)
    end(here, plan)
    return plan


def sheets(here: CliHome) -> dict[str, Any]:
    return pandas.read_excel(here.home.logbook, sheet_name=None)


def test_a_run_is_a_row_for_each_adapter_and_one_for_its_vote(here: CliHome, ended: Plan) -> None:
    done = here.call("logbook")
    assert done.stdout == f"{here.home.logbook}: 4 rows, 1 base\n"
    (name, found), *_ = sheets(here).items()
    assert name == "base"
    assert list(found.columns) == [column.heading for column in COLUMNS]
    assert list(found["run"]) == [ended.run] * 4
    assert list(found["mix"]) == ["both", "gold", "more", "vote: majority"]
    row = found.iloc[0]
    assert row["sources and rows"] == "official 2 (gold) + extra 3 (model)"
    assert (row["rows"], row["questions"], row["leaked rows"], row["seed"]) == (5, 7, 0, 0)
    assert (row["steps"], row["loss"], row["minutes"], row["memory GiB"]) == (14, 0.25, 1.5, 3.0)
    assert list(found["validation"]) == [0.5, 0.5, 0.5, 0.5]
    assert list(found["test"]) == ["???"] * 4
    assert list(found["in the vote"][:3]) == ["yes"] * 3
    assert list(found.iloc[3][["rows", "steps", "loss", "in the vote"]].isna()) == [True] * 4


def test_a_score_is_remembered_and_shown_as_a_number(here: CliHome, ended: Plan) -> None:
    assert here.call("score", ended.run, str(here.folder / "gold.jsonl")).exit_code == ExitCode.DONE
    found = sheets(here)["base"]
    assert [round(value, 4) for value in found["test"]] == [0.5, 0.5, 0.3333, 0.5]  # 3 A and 2 B of 6
    kept = json.loads(here.home.score(ended.run).read_bytes())
    assert here.home.input(kept["gold"]).exists()
    assert here.call("logbook").exit_code == ExitCode.DONE
    assert list(sheets(here)["base"]["test"]) == list(found["test"])


def test_the_score_of_another_vote_is_not_shown(here: CliHome, ended: Plan) -> None:
    here.call("score", ended.run, str(here.folder / "gold.jsonl"))
    manifest = here.home.manifest(ended.run, ended.submission)
    told = json.loads(manifest.read_bytes())
    told["vote"]["key"] = "0" * 64
    manifest.write_text(json.dumps(told))
    here.call("logbook")
    assert set(sheets(here)["base"]["test"]) == {"???"}


def test_another_submission_of_the_test_is_scored_but_not_logged(here: CliHome, ended: Plan) -> None:
    other = here.folder / "other.jsonl"
    other.write_bytes(here.home.submission(ended.run, ended.submission).read_bytes())
    done = here.call("score", ended.run, str(here.folder / "gold.jsonl"), "--submission", str(other))
    assert done.exit_code == ExitCode.DONE
    assert not here.home.score(ended.run).exists()


def test_what_is_not_known_yet_says_so(here: CliHome) -> None:
    plan = here.submit()
    train(here, plan, "gold")
    here.call("logbook")
    (row,) = sheets(here)["base"].to_dict("records")
    assert (row["mix"], row["steps"]) == ("gold", 8)
    assert (row["validation"], row["test"], row["in the vote"]) == ("???", "???", "???")


def test_a_member_that_does_not_vote_is_marked(here: CliHome) -> None:
    here.batch.write_text(here.batch.read_text().replace("{select: all}", "{select: [both, more]}"))
    plan = here.submit()
    train(here, plan)
    here.answer(plan, LETTERS)
    end(here, plan)
    here.call("logbook")
    found = sheets(here)["base"]
    assert dict(zip(found["mix"], found["in the vote"], strict=True)) | {"vote: majority": ""} == {
        "both": "yes",
        "gold": "no",
        "more": "yes",
        "vote: majority": "",
    }


def test_an_empty_home_has_an_empty_logbook(here: CliHome) -> None:
    assert "0 rows, 0 bases" in here.call("logbook").stdout
    assert list(sheets(here)) == ["no runs yet"]


def test_a_run_that_cannot_be_read_is_left_out_and_named(here: CliHome, ended: Plan) -> None:
    folder = here.home.run("broken-1")
    folder.mkdir()
    (folder / "plan.json").write_text('{"schema": 0}')
    done = here.call("logbook")
    assert done.exit_code == ExitCode.DONE
    assert "broken-1 is left out" in done.stderr
    assert len(sheets(here)["base"]) == 4


def again(here: CliHome, plan: Plan, run: str) -> Plan:
    """The same plan as another run."""
    home = here.home
    home.run(run).mkdir()
    home.plan(run).write_bytes(home.plan(plan.run).read_bytes().replace(plan.run.encode(), run.encode()))
    return plan_from_json(home.plan(run).read_bytes())


def test_a_run_that_ends_while_another_writes_is_not_lost(
    here: CliHome, ended: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has read before this one ended, and writes after it."""
    storage = Storage(here.home)
    replace: Callable[[Path, bytes], None] = storage.store.replace
    later = again(here, ended, "later-1")
    writes: list[Path] = []

    def replace_late(path: Path, data: bytes) -> None:
        if not writes:
            end(here, later)
            replace(path, workbook_bytes(read_logbook(here.storage)))  # the later run's own writer
        writes.append(path)
        replace(path, data)

    monkeypatch.setattr(storage.store, "replace", replace_late)
    write_logbook(storage)
    assert len(writes) == 2
    assert list(sheets(here)["base"]["run"]).count("later-1") == 4


@pytest.mark.parametrize("text", ["=1+1", "=HYPERLINK(1)", "@SUM(A1)", "http://a.b/c", "+1", "12", "<b>&"])
def test_text_stays_text(text: str) -> None:
    book = Logbook({("m", "d" * 64): (Entry(text, text, text),)}, {})
    found = pandas.read_excel(io.BytesIO(workbook_bytes(book)), dtype=str)
    assert list(found.iloc[0][["run", "mix", "sources and rows"]]) == [text] * 3


def test_sheets_have_names_that_excel_takes() -> None:
    models = [
        ("Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4", "a" * 64),
        ("/models/demo-base/", "b" * 64),
        ("other/Demo-Base", "c" * 64),
        ("a[b]*?:'", "d" * 64),
        ("x" * 40, "e" * 64),
        ("History", "f" * 64),
    ]
    names = sheet_names(models)
    assert names[:2] == ["Qwen2.5-32B-Instruct-GPTQ-Int4", "demo-base"]
    assert names[2] == "Demo-Base cccccccc"
    assert len({name.casefold() for name in names}) == len(models)
    assert all(0 < len(name) <= 31 for name in names)
    data = workbook_bytes(Logbook({model: (Entry("r", "m", "s"),) for model in models}, {}))
    assert list(pandas.read_excel(io.BytesIO(data), sheet_name=None)) == names
