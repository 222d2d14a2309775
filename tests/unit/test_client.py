"""Nonet from Python beside the command: the same results, on a home that was made by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nonet.questions.defect import DefectsError
from nonet.runs.attempt import ErrorClass
from nonet.runs.plan import Plan
from nonet.voting.vote import MissingBallotsError
from nonet_client import Nonet, RefusedError
from scheduler.state import Phase
from tests.cli_home import CliHome, write_files


@pytest.fixture
def here(tmp_path: Path) -> CliHome:
    return CliHome(tmp_path, write_files(tmp_path))


@pytest.fixture
def nonet(here: CliHome) -> Nonet:
    return Nonet(here.home.root)


@pytest.fixture
def plan(here: CliHome) -> Plan:
    return here.finish({"both": "A", "gold": "A", "more": "B"})


def test_a_batch_is_planned_submitted_and_found_again(here: CliHome, nonet: Nonet) -> None:
    planned = nonet.plan(here.batch)
    assert nonet.runs() == ()
    run = nonet.submit(here.batch)
    assert (run.id, run.plan) == (planned.run, planned)
    assert [found.id for found in nonet.runs()] == [nonet.run().id] == [nonet.run("hand").id] == [run.id]
    assert run.watch(timeout=0) is Phase.RUNNING
    assert set(run.cells()["state"]) == {"waiting"}
    with pytest.raises(MissingBallotsError):
        run.vote()


def test_what_the_command_refuses_is_raised(here: CliHome, nonet: Nonet) -> None:
    with pytest.raises(RefusedError, match="no run under"):
        nonet.run()
    here.batch.write_text(here.batch.read_text().replace("epochs: 2", "epoch: 2"))
    with pytest.raises(DefectsError) as refused:
        nonet.plan(here.batch)
    assert "epoch" in refused.value.defects[0].place


def test_failures_are_tried_again_and_runs_stopped(here: CliHome, nonet: Nonet) -> None:
    run = nonet.submit(here.batch)
    for adapter in run.plan.adapters:
        here.fail(adapter.key, ErrorClass.BAD_INPUT)
    assert run.status().phase is Phase.BLOCKED
    assert run.rerun(adapters=["gold"], dry_run=True) == ("gold",)
    assert run.status().phase is Phase.BLOCKED
    assert run.rerun() == ("both", "gold", "more")
    assert run.status().phase is Phase.RUNNING
    with pytest.raises(RefusedError, match="has no adapter 'none'"):
        run.rerun(adapters=["none"])
    assert (run.cancel(), run.cancel(), run.status().phase) == (True, False, Phase.CANCELLED)


def test_results_are_those_of_the_command(here: CliHome, nonet: Nonet, plan: Plan) -> None:
    gold, run = here.folder / "gold.jsonl", nonet.run()
    scored = run.score(gold)
    told = json.loads(here.call("score", plan.run, str(gold), "--json").stdout)
    assert scored.submission.to_json() == told["submission"]
    assert {name: score.to_json() for name, score in scored.members.items()} == told["members"]
    told = json.loads(here.call("vote", "--select", "more", "--json").stdout)
    assert run.vote(select="more").manifest == told["manifest"]
    assert run.vote(method="weighted").manifest["vote"]["settings"]["method"] == "weighted"
    assert [check.outcome for check in run.verify()] == ["pass"] * len(run.verify())
    assert run.explain("t0#1").right is False
    assert [one.question.id for one in run.contested(most=2, gold=gold)] == ["t0#0", "t0#1"]
    assert nonet.diff(plan.run, plan.run).changes == ()
    assert run.compare(members=2).ways[0].spec.method == "majority"
    assert run.submission() == here.home.submission(plan.run, plan.submission).read_bytes()
    assert Path(run.report()) == here.home.report(plan.run)


def test_tables_have_a_row_for_each_ballot_verdict_and_member(here: CliHome, nonet: Nonet, plan: Plan) -> None:
    run = nonet.run()
    ballots = run.ballots()
    assert len(ballots) == 3 * 6
    assert list(ballots.columns) == ["member", "question", "letter", "reason"], "these ballots hold no probabilities"
    assert dict(ballots.groupby("member")["letter"].first()) == {"both": "A", "gold": "A", "more": "B"}
    known = run.ballots("validation")
    assert (known["letter"] == known["gold"]).sum() == 2 * 3
    verdicts = run.verdicts()
    assert list(verdicts["letter"]) == ["A"] * 6
    assert "gold" not in verdicts
    run.score(here.folder / "gold.jsonl")
    assert run.verdicts()["right"].sum() == 3
    scores = run.scores().set_index("name")
    assert list(scores.index) == ["both", "gold", "more", "the vote"]
    assert scores.loc["the vote", "test"] == 0.5
    assert scores.loc["both", "validation_low"] == pytest.approx(0.15, abs=0.01)


def test_packs_go_from_home_to_home(here: CliHome, nonet: Nonet, plan: Plan, tmp_path: Path) -> None:
    pack = nonet.run().export(tmp_path / "pack.tar", data=False)
    other = Nonet(tmp_path / "other")
    found = other.import_adapters(pack, "gold", "more", base=here.folder / "base")
    assert [(adapter.name, adapter.rank) for adapter in found] == [("gold", 1), ("more", 1)]


def test_pandas_is_imported_by_tables_only() -> None:
    code = "import sys, nonet_client; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
