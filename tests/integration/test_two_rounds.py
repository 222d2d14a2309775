"""Two rounds on a real fleet: the first one's vote labels its test, the second trains on it; the batches as shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from cli.exit_codes import ExitCode
from nonet.runs.plan import ADAPTERS, Plan, PlannedUse
from scheduler.state import Phase
from tests.rig import Rig
from tests.small_batch import DEMO, ROOT

ROWS = {"official": 12, "extra": 4, "prelim": 8, "test": 4}
"""Rows of each file that the test takes: two rounds of all of them take minutes."""


def shortened(folder: Path) -> None:
    """Both batch files, over the first rows of their data, with the labels of round 1 beside them."""
    for name, count in ROWS.items():
        lines = (DEMO / f"{name}.jsonl").read_bytes().splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_bytes(b"".join(lines[:count]))
    for name in ("round-1", "round-2"):
        text = (ROOT / "config" / "batches" / f"{name}.yaml").read_text(encoding="utf-8")
        for old, new in (("../../data/demo/", ""), ("../../.nonet/", ""), ("../../models", str(ROOT / "models"))):
            assert old in text or old == "../../.nonet/"
            text = text.replace(old, new)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def letters(row: dict[str, Any]) -> list[str]:
    return [question["answer"] for question in row["questions"]]


def use_of(plan: Plan, mix: str, source: str) -> PlannedUse:
    (adapter,) = (adapter for adapter in plan.adapters if adapter.name == mix)
    (use,) = (use for use in adapter.uses if use.source == source)
    return use


@pytest.mark.timeout(900)
def test_round_2_trains_on_the_votes_of_round_1(rig: Rig, tmp_path: Path) -> None:
    shortened(tmp_path)
    rig.start_all(workers=1)
    first = rig.submit(tmp_path / "round-1.yaml")
    rig.wait_for_phase(first, Phase.COMPLETE)
    labels = tmp_path / "round-1-labels.jsonl"
    rig.nonet("pseudo", "round-1", "--out", str(labels))
    rows = [json.loads(line) for line in labels.read_text(encoding="utf-8").splitlines()]
    submitted = [json.loads(line) for line in rig.submission(first).splitlines()]
    assert [row["id"] for row in rows] == [row["id"] for row in submitted]
    assert [letters(row) for row in rows] == [letters(row) for row in submitted]
    assert {row["pseudo"]["run"] for row in rows} == {first.run}
    margins = [question["margin"] for row in rows for question in row["questions"]]
    agreed = sum(margin >= 0.5 for margin in margins)
    assert set(margins) <= {0.0, 0.3333, 1.0}
    assert 0 < agreed < len(margins), "the margin tells nothing apart here"

    text = (tmp_path / "round-2.yaml").read_text(encoding="utf-8")
    leaking = tmp_path / "leaking.yaml"
    leaking.write_text(text.replace("test: test.jsonl", "test: prelim.jsonl"), encoding="utf-8")
    refused = rig.nonet("submit", str(leaking), check=False)
    assert refused.returncode == ExitCode.BAD_INPUT
    assert f"the mix holds {ROWS['prelim']} stems of the test" in refused.stderr

    second = rig.submit(tmp_path / "round-2.yaml")
    assert use_of(second, "labelled", "round-1").questions == len(margins)
    assert use_of(second, "agreed", "round-1").questions == agreed
    rig.wait_for_phase(second, Phase.COMPLETE)
    assert len(set(rig.adapter_digests(second).values())) == 3
    assert first.adapters[0].key == second.adapters[0].key, "`official` is the same adapter in both rounds"
    assert len(rig.attempts.history(first.adapters[0].key)) == 1, "and was trained once"
    commit = rig.storage.record(ADAPTERS, second.adapters[1].key)
    assert commit is not None
    assert commit.body["training"]["examples"] == second.adapters[1].questions

    sheet = pandas.read_excel(rig.home / "log.xlsx", sheet_name="demo-base")
    assert list(sheet["run"]) == [first.run] * 4 + [second.run] * 4
    assert f"(pseudo of {first.run}, margin 0.5)" in sheet["sources and rows"][6]
    for plan in (first, second):
        report = rig.storage.home.report(plan.run)
        rig.wait(report.exists, 60, f"the report of {plan.run}")
    assert "reused, of round-1" in rig.storage.home.report(second.run).read_text(encoding="utf-8")
