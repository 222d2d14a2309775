"""`nonet diff`: what changed in the batch, in the ballots and in the verdicts, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.exit_codes import ExitCode
from nonet.runs.plan import Plan, QuestionSet, plan_from_json
from nonet.voting.aggregation import problems_of
from nonet.voting.ballot import AbstentionReason, Ballot
from tests.cli_home import CliHome, write_files


@pytest.fixture
def here(tmp_path: Path) -> CliHome:
    return CliHome(tmp_path, write_files(tmp_path))


def again(here: CliHome, letters: dict[str, str], **changes: str) -> Plan:
    """A second run, of the batch with `changes` (old text to new), answered by `letters`."""
    text = here.batch.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    here.batch.write_text(text)
    known = {run.name for run in here.home.runs.iterdir()}
    assert here.call("submit", str(here.batch)).exit_code == 0
    (run,) = [run for run in here.home.runs.iterdir() if run.name not in known]
    plan = plan_from_json((run / "plan.json").read_bytes())
    here.train(plan)
    here.answer(plan, letters)
    here.vote(plan)
    return plan


def differ(here: CliHome, first: Plan, second: Plan, code: ExitCode, *more: str) -> dict[str, Any]:
    done = here.call("diff", first.run, second.run, "--json", *more)
    assert done.exit_code == code, done.stdout
    whole: dict[str, Any] = json.loads(done.stdout)
    return whole


def changes(whole: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {change["place"]: (change["first"], change["second"]) for change in whole["changes"]}


def test_a_run_does_not_differ_from_itself(here: CliHome) -> None:
    plan = here.finish({"both": "A", "gold": "A", "more": "B"})
    whole = differ(here, plan, plan, ExitCode.DONE)
    assert whole["changes"] == []
    assert (whole["verdicts"]["identical"], whole["verdicts"]["changed"]) == (True, [])
    assert {m["agreement"] for m in whole["verdicts"]["members"]} == {1.0}
    assert "the batches make the same" in here.call("diff", plan.run, plan.run).stdout


def test_another_recipe_changes_ballots_and_is_named(here: CliHome) -> None:
    first = here.finish({"both": "A", "gold": "A", "more": "B"})
    second = again(here, {"both": "B", "gold": "A", "more": "B"}, **{"epochs: 2": "epochs: 3"})
    gold = str(here.folder / "gold.jsonl")
    whole = differ(here, first, second, ExitCode.DIFFERENT, "--gold", gold)
    assert changes(whole) == {"training.epochs": (2, 3)}
    verdicts = whole["verdicts"]
    members = {member["first"]: member for member in verdicts["members"]}
    assert (members["both"]["changed"], members["both"]["agreement"]) == (6, 0.0)
    assert members["both"]["reasons"] == ["training.epochs"]
    assert members["gold"]["changed"] == 0
    assert len(verdicts["changed"]) == 6
    one = verdicts["changed"][0]
    assert (one["question"], one["first"], one["second"], one["gold"]) == ("t0#0", "A", "B", "A")
    assert (one["causes"], one["ballots"]) == (["ballots"], {"both": ["A", "B"]})
    assert (verdicts["scores"]["first"]["correct"], verdicts["scores"]["second"]["correct"]) == (3, 2)
    assert verdicts["scores"]["test"] == {"only_first": 3, "only_second": 2, "p": 1.0}
    printed = here.call("diff", first.run, second.run, "--gold", gold)
    assert printed.exit_code == ExitCode.DIFFERENT
    for text in ("training.epochs: 2 → 3", "both A→B", "6 of 6 verdicts changed: 6 by ballots", "p = 1"):
        assert text in printed.stdout


def test_members_that_join_and_leave_are_causes(here: CliHome) -> None:
    first = here.finish({"both": "A", "gold": "A", "more": "B"})
    letters = {"both": "A", "more": "B", "fewer": "B"}
    second = again(here, letters, **{"gold: {use: [official]}": "fewer: {use: [{source: extra, first: 2}]}"})
    verdicts = differ(here, first, second, ExitCode.DIFFERENT)["verdicts"]
    assert (verdicts["joined"], verdicts["left"]) == (["fewer"], ["gold"])
    assert {tuple(one["causes"]) for one in verdicts["changed"]} == {("members",)}
    assert all(member["changed"] == 0 and not member["reasons"] for member in verdicts["members"])


def test_a_mix_under_another_name_is_the_same_member(here: CliHome) -> None:
    first = here.finish({"both": "A", "gold": "A", "more": "B"})
    second = again(here, {"both": "A", "only": "A", "more": "B"}, **{"gold: {use": "only: {use"})
    whole = differ(here, first, second, ExitCode.DONE)
    assert changes(whole) == {"mixes.gold": ("gold", "only")}
    assert [(m["first"], m["second"]) for m in whole["verdicts"]["members"]][1] == ("gold", "only")


def test_another_way_of_counting_is_a_cause(here: CliHome) -> None:
    first = here.finish({"both": "A", "gold": "A", "more": "B"})
    second = again(here, {"both": "A", "gold": "A", "more": "B"}, **{"select: all": "select: [more]"})
    whole = differ(here, first, second, ExitCode.DIFFERENT)
    assert changes(whole) == {"vote.select": ("all", ["more"])}
    assert {tuple(one["causes"]) for one in whole["verdicts"]["changed"]} == {("members",)}
    assert whole["verdicts"]["left"] == ["both", "gold"]


def test_another_test_is_compared_where_both_ask(here: CliHome) -> None:
    first = here.finish({"both": "A", "gold": "A", "more": "B"})
    test = here.folder / "test.jsonl"
    rows = test.read_text().splitlines(keepends=True)
    test.write_text("".join([rows[0].replace("question 0 of t0?", "another?"), *rows[1:3]]))
    second = again(here, {"both": "B", "gold": "B", "more": "B"})
    whole = differ(here, first, second, ExitCode.DIFFERENT)
    assert set(changes(whole)) == {"inference.test"}
    verdicts = whole["verdicts"]
    assert (verdicts["shared"], verdicts["only_first"], verdicts["only_second"]) == (5, 1, 0)
    assert [tuple(one["causes"]) for one in verdicts["changed"][:2]] == [("question",), ("ballots",)]
    assert {tuple(member["reasons"]) for member in verdicts["members"]} == {("inference.test",)}


def test_what_members_were_not_asked_leaves_a_cause_unknown(here: CliHome) -> None:
    """In the first run `more` was not asked, since two of three agreed; what it would have said, nobody knows."""
    first = here.submit()
    here.train(first)
    here.answer(first, {"both": "A", "gold": "A", "more": "B"}, QuestionSet.VALIDATION)
    for cell in (cell for cell in first.cells if cell.shard.set is QuestionSet.TEST):
        if cell.adapter.name != "more":
            here.cast(first, cell, "A")
            continue
        asked = [
            q for p in problems_of(here.storage, first, "test")[cell.shard.start : cell.shard.stop] for q in p.questions
        ]
        ballots = [Ballot(q.id, None, (), AbstentionReason.DECIDED).to_json() for q in asked]
        here.storage.publish(cell.scope, cell.key, 1, body={"ballots": ballots, "shard": cell.shard.name})
    here.vote(first)
    letters = {"both": "A", "gold": "A", "more": "B"}
    second = again(here, letters, **{"select: all": "select: [more]", "epochs: 2": "epochs: 3"})
    verdicts = differ(here, first, second, ExitCode.DIFFERENT)["verdicts"]
    assert {tuple(one["causes"]) for one in verdicts["changed"]} == {("unknown",)}
    assert {member["first"]: member["changed"] for member in verdicts["members"]} == {"both": 0, "gold": 0, "more": 0}


def test_a_run_that_has_not_voted_is_compared_by_its_plan(here: CliHome) -> None:
    first = here.finish({"both": "A", "gold": "A", "more": "B"})
    here.batch.write_text(here.batch.read_text().replace("epochs: 2", "epochs: 3"))
    assert here.call("submit", str(here.batch)).exit_code == 0
    (run,) = [run.name for run in here.home.runs.iterdir() if run.name != first.run]
    done = here.call("diff", first.run, run, "--json")
    assert done.exit_code == ExitCode.BLOCKED
    whole = json.loads(done.stdout)
    assert (changes(whole), whole["verdicts"]) == ({"training.epochs": (2, 3)}, None)
    assert "ballots are missing" in whole["gap"]
