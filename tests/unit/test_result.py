"""The result in a run's folder: when it is what the committed vote made, also where two runs share the vote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nonet.runs.plan import VOTES, Plan, plan_from_json
from nonet.runs.result import result_stands, write_result
from nonet.voting.aggregation import aggregate, spec_of
from tasks.vote import body_of
from tests.cli_home import CliHome, write_files


@pytest.fixture
def here(tmp_path: Path) -> CliHome:
    return CliHome(tmp_path, write_files(tmp_path))


def voted(here: CliHome, plan: Plan, *, commit: bool) -> str:
    """Write the result of a run, and commit its vote; returns the vote's key."""
    here.answer(plan, {"both": "A", "gold": "A", "more": "B"})
    result = aggregate(here.storage, plan, spec_of(plan))
    write_result(here.home, plan, result.submission, result.manifest)
    if commit:
        here.storage.publish(VOTES, result.key, 1, body=body_of(result))
    return result.key


@pytest.fixture
def plan(here: CliHome) -> Plan:
    return here.submit()


def second(here: CliHome) -> Plan:
    """The same batch by another name: another run of the same vote."""
    here.batch.write_text(here.batch.read_text().replace("name: hand", "name: other"))
    done = here.call("submit", str(here.batch))
    return plan_from_json(here.home.plan(done.stdout.partition(":")[0]).read_bytes())


def change(here: CliHome, plan: Plan, field: str, value: object) -> None:
    path = here.home.manifest(plan.run, plan.submission)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {field: value}))


def test_a_result_stands_to_the_byte(here: CliHome, plan: Plan) -> None:
    key = voted(here, plan, commit=True)
    assert result_stands(here.storage, plan, key)
    change(here, plan, "abstentions", 7)
    assert not result_stands(here.storage, plan, key)


def test_a_vote_that_another_run_committed_stands_in_both(here: CliHome, plan: Plan) -> None:
    key = voted(here, plan, commit=True)
    other = second(here)
    assert not result_stands(here.storage, other, key)
    assert voted(here, other, commit=False) == key
    assert result_stands(here.storage, other, key)
    assert result_stands(here.storage, plan, key)


@pytest.mark.parametrize(
    ("field", "value"), [("run", "hand-0"), ("submission", {"sha256": "0" * 64}), ("vote", {"key": "0"}), ("vote", 1)]
)
def test_what_is_damaged_does_not_stand_in_the_other_run_either(
    here: CliHome, plan: Plan, field: str, value: object
) -> None:
    key = voted(here, plan, commit=True)
    other = second(here)
    voted(here, other, commit=False)
    change(here, other, field, value)
    assert not result_stands(here.storage, other, key)
    submission = here.home.submission(other.run, other.submission)
    voted(here, other, commit=False)
    submission.write_bytes(submission.read_bytes() + b"{}\n")
    assert not result_stands(here.storage, other, key)
