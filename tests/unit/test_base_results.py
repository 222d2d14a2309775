"""Bases side by side: what members score and cost, from artifacts made by hand."""

from __future__ import annotations

import json
import shutil
from dataclasses import astuple
from pathlib import Path

import pytest

from nonet.questions.rows import read_problems
from nonet.runs.base_results import base_results
from nonet.runs.plan import ADAPTERS, Plan
from nonet.voting.aggregation import spec_of
from nonet.voting.ballot import Ballot
from tests.cli_home import CliHome, write_files

BASES = "bases:\n  one: {model: ./base}\n  two: {model: ./other, training: {rank: 4}}"
LETTERS = {"both@one": "A", "gold@one": "B", "more@one": "A", "both@two": "C", "gold@two": "C", "more@two": "C"}
"""Of 6 questions of the test 3 have A, 2 B and 1 C."""


@pytest.fixture
def here(tmp_path: Path) -> CliHome:
    path = write_files(tmp_path)
    shutil.copytree(tmp_path / "base", tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").write_bytes(b"others")
    path.write_text(path.read_text().replace("base: {model: ./base}", BASES))
    return CliHome(tmp_path, path)


@pytest.fixture
def plan(here: CliHome) -> Plan:
    """Every adapter trained and every question answered, with what they took."""
    plan = here.submit()
    for adapter in plan.adapters:
        size = {"one": 3, "two": 5}[adapter.base] * 2**30
        here.storage.publish(ADAPTERS, adapter.key, 1, body={"training": {"peak_memory_bytes": size}})
    for cell in plan.cells:
        problems, _ = read_problems(here.home.input(plan.inputs[cell.shard.set]), labelled=False)
        questions = [q for p in problems[cell.shard.start : cell.shard.stop] for q in p.questions]
        ballots = [Ballot(q.id, LETTERS[cell.adapter.name], ()).to_json() for q in questions]
        cost = {"seconds": 0.5 * len(questions), "peak_memory_bytes": 2**30} if cell.adapter.base == "one" else {}
        here.storage.publish(cell.scope, cell.key, 1, body={"ballots": ballots, "shard": cell.shard.name, **cost})
    return plan


def test_each_base_is_scored_by_its_own_members(here: CliHome, plan: Plan) -> None:
    gold, _ = read_problems(here.folder / "gold.jsonl", labelled=True)
    one, two = base_results(here.storage, plan, spec_of(plan), gold)
    assert (one.name, one.members, two.name) == ("one", 3, "two")
    assert one.test is not None
    assert one.test.best == pytest.approx(3 / 6)
    assert one.test.mean == pytest.approx((3 + 2 + 3) / 18)
    assert one.test.vote == pytest.approx(3 / 6), "two of three say A"
    assert two.test is not None
    assert astuple(two.test) == pytest.approx((1 / 6, 1 / 6, 1 / 6))
    assert one.validation is not None
    assert astuple(one.validation) == pytest.approx((0.5, 0.5, 0.5))


def test_what_a_base_costs_is_what_its_artifacts_say(here: CliHome, plan: Plan) -> None:
    one, two = base_results(here.storage, plan, spec_of(plan))
    assert (one.training_memory, one.answering_memory) == (3 * 2**30, 2**30)
    assert one.seconds == pytest.approx(0.5)
    assert (two.training_memory, two.answering_memory, two.seconds) == (5 * 2**30, None, None), "not on record"
    assert one.test is None, "no gold was given"


def test_a_base_whose_members_have_not_all_answered_has_no_score(here: CliHome) -> None:
    plan = here.submit()
    assert [base.validation for base in base_results(here.storage, plan, spec_of(plan))] == [None, None]


def test_vote_and_score_print_the_table(here: CliHome, plan: Plan) -> None:
    told = here.call("vote", plan.run).stdout
    (line,) = [line for line in told.splitlines() if line.startswith("one ")]
    assert line.split()[:8] == ["one", "3", "0.5000", "0.5000", "0.5000", "3.0", "GiB", "1.0"]
    submission = next(here.home.votes(plan.run).glob("*/submission.jsonl"))
    scored = ["score", plan.run, str(here.folder / "gold.jsonl"), "--submission", str(submission)]
    assert "test best" in here.call(*scored).stdout
    found = json.loads(here.call(*scored, "--json").stdout)["bases"]
    assert [base["name"] for base in found] == ["one", "two"]
