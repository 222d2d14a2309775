"""The commands on a home that was made by hand: what they print, change and exit with. No fleet, no torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from nonet.runs.attempt import ErrorClass
from nonet.runs.plan import QuestionSet
from nonet.runs.result import write_result
from tests.cli_home import CliHome, write_files


@pytest.fixture
def here(tmp_path: Path) -> CliHome:
    return CliHome(tmp_path, write_files(tmp_path))


def test_plan_shows_rows_questions_steps_and_what_is_reused(here: CliHome) -> None:
    first = here.call("plan", str(here.batch), "--no-tokens")
    assert first.exit_code == 0
    lines = {line.split()[0]: line.split() for line in first.stdout.splitlines() if line.strip()}
    assert lines["both"][1:3] == ["5", "7"]  # 2 official rows are validation, with 2 questions each; 3 extra ones
    assert lines["gold"][1:3] == ["2", "4"]
    assert lines["gold"][5] == "8"  # steps: 4 questions, twice
    assert lines["more"][-1] == "nothing"
    assert not here.home.root.exists(), "a plan writes nothing"

    plan = here.submit()
    here.train(plan, "gold")
    here.cast(plan, plan.cells[1], "A")
    again = json.loads(here.call("plan", str(here.batch), "--no-tokens", "--json").stdout)
    reused = {adapter["name"]: adapter["reused"] for adapter in again["adapters"]}
    assert reused == {
        "both": {"adapter": False, "shards": 0},
        "gold": {"adapter": True, "shards": 1},
        "more": {"adapter": False, "shards": 0},
    }
    assert again["to_do"] == {"adapters": 2, "steps": 20, "cells": len(plan.cells) - 1}
    assert again["run"] == plan.run


def test_plan_names_stems_that_leak(here: CliHome) -> None:
    leaking = (here.folder / "test.jsonl").read_text().splitlines()[0].replace('"z"]}', '"z"], "answer": "A"}')
    with (here.folder / "extra.jsonl").open("a") as file:
        file.write(leaking + "\n")
    refused = here.call("plan", str(here.batch), "--no-tokens")
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "mixes.both" in refused.stderr
    allowed = (
        here.batch.read_text()
        .replace("extra]}", "extra], allow_leak: true}")
        .replace("[extra], allow_leak: true}", "[extra], allow_leak: true}")
    )
    here.batch.write_text(allowed)
    planned = json.loads(here.call("plan", str(here.batch), "--no-tokens", "--json").stdout)
    assert {a["name"]: a["leaked"] for a in planned["adapters"]} == {"both": 1, "gold": 0, "more": 1}


def test_a_bad_batch_is_refused_with_every_defect_before_anything_is_written(here: CliHome) -> None:
    here.batch.write_text(here.batch.read_text().replace("epochs: 2", "epoch: 2").replace("extra.jsonl", "no.jsonl"))
    refused = here.call("submit", str(here.batch))
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "epoch" in refused.stderr
    assert "no.jsonl" in refused.stderr
    assert not here.home.root.exists()


def test_submitting_twice_is_one_run(here: CliHome) -> None:
    plan = here.submit()
    again = here.call("submit", str(here.batch))
    assert "known already" in again.stdout
    assert [path.name for path in here.home.runs.iterdir()] == [plan.run]


def test_status_tells_phases_by_its_exit_code(here: CliHome) -> None:
    assert here.call("status").exit_code == ExitCode.NOT_FOUND
    plan = here.submit()
    assert here.call("status").exit_code == ExitCode.GOING
    for adapter in plan.adapters:
        here.fail(adapter.key)
    blocked = here.call("status")
    assert blocked.exit_code == ExitCode.BLOCKED
    assert "gold: 1 attempt, bad_input: it cannot be" in blocked.stdout
    here.call("cancel", plan.run)
    assert here.call("status").exit_code == ExitCode.CANCELLED


def test_status_json_holds_every_unit(here: CliHome) -> None:
    plan = here.submit()
    here.train(plan, "gold")
    here.fail(plan.adapters[0].key)
    whole = json.loads(here.call("status", "--json").stdout)
    assert whole["schema"] == 1
    assert (whole["run"], whole["phase"], whole["fleet"]) == (plan.run, "running", "unknown")
    states = {unit["name"]: unit["state"] for unit in whole["adapters"]}
    assert states == {"both": "failed", "gold": "committed", "more": "ready"}
    assert whole["adapters"][0]["last"]["error_class"] == "bad_input"
    assert len(whole["cells"]) == len(plan.cells)
    assert whole["counts"]["cells"]["waiting"] == 2 * len(plan.shards)
    assert whole["vote"] is None


def test_runs_are_named_by_prefix_and_latest(here: CliHome) -> None:
    first = here.submit()
    here.batch.write_text(here.batch.read_text().replace("name: hand", "name: handy"))
    assert here.call("submit", str(here.batch)).exit_code == 0
    assert "handy" in here.call("status").stdout
    assert "handy" in here.call("status", "latest").stdout
    assert first.run in here.call("status", "hand-").stdout
    both = here.call("status", "hand")
    assert both.exit_code == ExitCode.NOT_FOUND
    assert "give more of it" in both.stderr
    assert here.call("status", "../etc").exit_code == ExitCode.NOT_FOUND
    assert len(here.call("status", "--all").stdout.splitlines()) == 3


def test_rerun_forgives_what_failed_and_touches_nothing_else(here: CliHome) -> None:
    plan = here.submit()
    here.train(plan, "gold")
    both, gold, more = (adapter.key for adapter in plan.adapters)
    here.fail(both)
    dry = here.call("rerun", "--dry-run")
    assert "both: 1 attempt, bad_input" in dry.stdout
    assert here.attempts.tries(both).pardoned == 0
    assert here.call("rerun", "--failed").exit_code == 0
    assert (
        here.attempts.tries(both).pardoned,
        here.attempts.tries(gold).pardoned,
        here.attempts.tries(more).pardoned,
    ) == (1, 0, 0)
    assert here.call("rerun").stdout == f"{plan.run}: nothing selected has failed\n"


def test_rerun_of_a_waiting_cell_brings_its_adapter_along(here: CliHome) -> None:
    plan = here.submit()
    here.fail(plan.adapters[0].key)
    here.fail(plan.adapters[1].key)
    assert here.call("rerun", "--adapter", "both", "--shard", plan.shards[-1].name).exit_code == 0
    assert here.attempts.tries(plan.adapters[0].key).pardoned == 1
    assert here.attempts.tries(plan.adapters[1].key).pardoned == 0


def test_rerun_refuses_committed_results_and_unknown_names(here: CliHome) -> None:
    plan = here.submit()
    here.train(plan)
    here.answer(plan, {"both": "A", "gold": "B", "more": "A"})
    refused = here.call("rerun", "--adapter", "gold")
    assert refused.exit_code == ExitCode.USAGE
    assert "never computed twice" in refused.stderr
    unknown = here.call("rerun", "--shard", "test-9")
    assert unknown.exit_code == ExitCode.NOT_FOUND
    assert "test-000" in unknown.stderr


def test_cancel_lasts_and_rerun_takes_up_again(here: CliHome) -> None:
    plan = here.submit()
    assert "cancelled" in here.call("cancel").stdout
    assert here.home.cancelled(plan.run).exists()
    assert "taken up again" in here.call("rerun").stdout
    assert not here.home.cancelled(plan.run).exists()


def test_cancel_asks_which_of_several_runs(here: CliHome) -> None:
    here.submit()
    here.batch.write_text(here.batch.read_text().replace("name: hand", "name: other"))
    here.call("submit", str(here.batch))
    refused = here.call("cancel")
    assert refused.exit_code == ExitCode.USAGE
    assert "hand-" in refused.stderr
    assert "other-" in refused.stderr


def test_logs_are_merged_in_order_with_their_attempts(here: CliHome) -> None:
    plan = here.submit()
    key = plan.adapters[0].key
    here.fail(key, ErrorClass.ENGINE, "first reason")
    here.begin(key, "log of attempt 2\n")
    printed = here.call("logs", plan.run, "both").stdout
    places = [printed.index(text) for text in ("first reason", "log of attempt 1", "at work", "log of attempt 2")]
    assert places == sorted(places)
    assert here.call("logs", plan.run).stdout == printed
    assert here.call("logs", plan.run, "gold").stdout == ""
    unknown = here.call("logs", plan.run, "golf")
    assert unknown.exit_code == ExitCode.NOT_FOUND


def test_vote_again_leaves_the_runs_own_submission_alone(here: CliHome) -> None:
    plan = here.submit()
    here.answer(plan, {"both": "A", "gold": "A", "more": "B"})
    voted = json.loads(here.call("vote", "--json").stdout)
    assert {line["answer"] for line in _answers(Path(voted["submission"]))} == {"A"}
    assert not here.home.submission(plan.run, plan.submission).exists()
    single = json.loads(here.call("vote", "--select", "more", "--json").stdout)
    assert {line["answer"] for line in _answers(Path(single["submission"]))} == {"B"}
    assert single["validation"] == 0.5
    assert len(list(here.home.votes(plan.run).iterdir())) == 2
    assert here.call("vote", "--members", "4").exit_code == ExitCode.BAD_INPUT
    assert here.call("vote", "--select", "nobody").exit_code == ExitCode.NOT_FOUND


def test_vote_without_all_ballots_says_what_is_missing(here: CliHome) -> None:
    plan = here.submit()
    here.answer(plan, {"both": "A", "gold": "A", "more": "B"}, QuestionSet.VALIDATION)
    here.cast(plan, plan.cells[-1], "B")
    missing = here.call("vote")
    assert missing.exit_code == ExitCode.BLOCKED
    assert "both lacks" in missing.stderr


def _answers(path: Path) -> list[dict[str, str]]:
    return [entry for line in path.read_text().splitlines() for entry in json.loads(line)["questions"]]


def test_score_counts_submission_members_and_floors(here: CliHome) -> None:
    plan = here.submit()
    here.answer(plan, {"both": "A", "gold": "A", "more": "B"})
    gold = str(here.folder / "gold.jsonl")
    early = here.call("score", plan.run, gold)
    assert early.exit_code == ExitCode.BLOCKED
    voted = json.loads(here.call("vote", "--json").stdout)
    scored = json.loads(here.call("score", plan.run, gold, "--submission", voted["submission"], "--json").stdout)
    assert (scored["submission"]["correct"], scored["submission"]["total"]) == (3, 6)
    assert scored["members"]["more"]["correct"] == 2
    assert scored["floor"] == {"letter": "A", "commonest": 0.5, "chance": pytest.approx(1 / 3)}
    unlabelled = here.call("score", plan.run, str(here.folder / "test.jsonl"), "--submission", voted["submission"])
    assert unlabelled.exit_code == ExitCode.BAD_INPUT


def test_score_refuses_the_gold_of_another_test(here: CliHome) -> None:
    plan = here.submit()
    here.answer(plan, {"both": "A", "gold": "A", "more": "B"})
    voted = json.loads(here.call("vote", "--json").stdout)
    write_result(here.home, plan, Path(voted["submission"]).read_bytes(), voted["manifest"])
    gold = (here.folder / "gold.jsonl").read_text().splitlines(keepends=True)
    (here.folder / "other.jsonl").write_text(gold[0].replace('"id": "', '"id": "not-'))
    refused = here.call("score", plan.run, str(here.folder / "other.jsonl"))
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "of its questions are not in the test of" in refused.stderr
    (here.folder / "part.jsonl").write_text(gold[0])
    assert here.call("score", plan.run, str(here.folder / "part.jsonl")).exit_code == 0, "a part of it will do"


def test_score_tests_the_submission_against_members_and_takes_any_file(here: CliHome) -> None:
    plan = here.submit()
    here.answer(plan, {"both": "A", "gold": "A", "more": "B"})
    gold = str(here.folder / "gold.jsonl")
    submission = json.loads(here.call("vote", "--json").stdout)["submission"]
    scored = json.loads(here.call("score", plan.run, gold, "--submission", submission, "--json").stdout)
    assert scored["submission"]["interval"] == pytest.approx([0.1876, 0.8124], abs=1e-4)  # 3 of 6
    assert len(scored["pairs"]) == 6
    pair = {(p["first"], p["second"]): p for p in scored["pairs"]}["the vote", "more"]
    assert (pair["only_first"], pair["only_second"], pair["p"], pair["agreement"]) == (3, 2, 1.0, 0.0)
    printed = here.call("score", plan.run, gold, "--submission", submission).stdout
    assert "0.188-0.812" in printed
    alone = json.loads(here.call("score", submission, gold, "--json").stdout)
    assert alone["submission"] == scored["submission"]
    assert (alone["members"], alone["pairs"], alone["floor"]) == ({}, [], scored["floor"])


def test_ways_of_voting_are_compared_from_ballots_alone(here: CliHome) -> None:
    plan = here.submit()
    here.answer(plan, {"both": "A", "gold": "A", "more": "B"})
    printed = here.call("vote", "--compare", "--gold", str(here.folder / "gold.jsonl"))
    assert printed.exit_code == 0, printed.stderr
    for word in (
        "best single",
        "mean of the members",
        "majority",
        "weighted",
        "greedy 3",
        "cross-fitted",
        "always A 0.5000",
    ):
        assert word in printed.stdout
    assert "soft" not in printed.stdout, "these ballots hold no log-probabilities"
    found = json.loads(here.call("vote", "--compare", "--members", "2", "--json").stdout)
    assert [(way["method"], way["select"], way["members"]) for way in found["ways"]] == [
        (method, select, count)
        for method in ("majority", "weighted")
        for select, count in (("all", None), ("validation", 2), ("greedy", 2))
    ]
    assert found["ways"][0]["validation"]["accuracy"] == 0.5
    assert found["ways"][0]["test"] is None
    assert not here.home.votes(plan.run).exists(), "a comparison writes nothing"


def test_a_comparison_takes_no_other_settings(here: CliHome) -> None:
    here.submit()
    refused = here.call("vote", "--compare", "--method", "soft")
    assert refused.exit_code == ExitCode.USAGE
    assert "--compare goes through all methods" in refused.stderr
    refused = here.call("vote", "--gold", str(here.folder / "gold.jsonl"))
    assert refused.exit_code == ExitCode.USAGE
    assert "--gold goes with --compare" in refused.stderr
    assert here.call("vote", "--compare").exit_code == ExitCode.BLOCKED, "no ballots yet"


def test_votes_by_other_methods_say_so_in_the_manifest(here: CliHome) -> None:
    plan = here.submit()
    here.answer(plan, {"both": "A", "gold": "A", "more": "B"})
    voted = json.loads(
        here.call("vote", "--method", "weighted", "--select", "greedy", "--members", "1", "--json").stdout
    )
    vote = voted["manifest"]["vote"]
    assert (vote["settings"]["method"], vote["settings"]["select"], vote["settings"]["members"]) == (
        "weighted",
        "greedy",
        1,
    )
    assert [voter["weight"] for voter in vote["voters"]] == [1.0]
    assert vote["greedy"] == {"bags": 20, "seed": 0}
    assert voted["manifest"]["validation"]["naive"]["total"] == 4
    assert {pair["first"] for pair in voted["pairs"]} == {"the vote", "both", "gold"}
    soft = here.call("vote", "--method", "soft")
    assert soft.exit_code == ExitCode.BAD_INPUT
    assert "holds no log-probabilities" in soft.stderr


def test_plan_states_what_option_orders_cost(here: CliHome) -> None:
    here.batch.write_text(here.batch.read_text().replace("shard_size: 2", "shard_size: 2, permutations: 2"))
    planned = here.call("plan", str(here.batch))
    assert planned.exit_code == 0, planned.stderr
    assert (
        "orders     every question in 2 orders of its options, at most all, 2 times the prompts of one"
        in planned.stdout
    )
    whole = json.loads(here.call("plan", str(here.batch), "--json").stdout)
    assert whole["answering"]["prompts"] == 2 * (6 + 4)


def test_plan_states_what_texts_may_cost(here: CliHome) -> None:
    text = "shard_size: 2, answer: text, max_tokens: 50, samples: 3, token_budget: 120, stop_when_decided: true"
    here.batch.write_text(here.batch.read_text().replace("shard_size: 2", text))
    planned = here.call("plan", str(here.batch))
    assert planned.exit_code == 0, planned.stderr
    assert f"replies    {3 * (6 + 4)} for each adapter, {120 * (6 + 4):,} tokens at most" in planned.stdout
    assert "stops      when decided" in planned.stdout


def test_option_orders_give_cells_other_keys_and_one_order_those_of_before(here: CliHome) -> None:
    plan = here.submit()
    (base,) = plan.bases
    assert base.inference["permutations"] == 1
    adapter, shard = plan.adapters[0], plan.shards[0]
    before = {name: value for name, value in base.inference.items() if name != "permutations"}
    without = replace(plan, bases=(replace(base, inference=before),))
    several = replace(plan, bases=(replace(base, inference=before | {"permutations": 2}),))
    assert without.cell_key(adapter, shard) == plan.cell_key(adapter, shard) != several.cell_key(adapter, shard)


def test_watch_without_a_terminal_prints_changes_and_leaves_in_time(here: CliHome) -> None:
    plan = here.submit()
    here.train(plan, "gold")
    going = here.call("watch", "--timeout", "0")
    assert going.exit_code == ExitCode.GOING
    assert "gold: committed" in going.stdout
    here.call("cancel")
    assert here.call("watch").exit_code == ExitCode.CANCELLED


def test_schema_is_the_batch_files(here: CliHome) -> None:
    schema = json.loads(here.call("schema").stdout)
    assert {"name", "base", "sources", "mixes", "inference"} <= set(schema["properties"])


def test_submit_refuses_a_question_that_cannot_fit(here: CliHome) -> None:
    """Before anything is queued: no run is made."""
    here.batch.write_text(here.batch.read_text().replace("epochs: 2", "epochs: 2, max_length: 32"))
    refused = here.call("submit", str(here.batch))
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "training.max_length" in refused.stderr
    assert not here.home.runs.exists()
