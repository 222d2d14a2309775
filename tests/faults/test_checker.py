"""The checker of the promises itself: each promise, broken by hand in an undisturbed run, is found to be broken."""

from __future__ import annotations

import shutil

import pytest

from nonet.runs.attempt import Attempts, ErrorClass, Outcome
from nonet.runs.plan import ADAPTERS, Plan, plan_from_json
from nonet.stores.storage import DamagedError
from tests import promises
from tests.faults.paced import PacedRig, Reference
from tests.promises import check_promises


@pytest.fixture
def run(paced: PacedRig, reference: Reference, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The undisturbed run, as it lies on storage, with nobody at work."""
    monkeypatch.setattr(promises, "PATIENCE", 1.0)
    shutil.copytree(reference.home, paced.home)
    paced.start("redis")
    (path,) = paced.storage.home.runs.glob("*/plan.json")
    plan = plan_from_json(path.read_bytes())
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)
    return plan


def test_two_results(paced: PacedRig, reference: Reference, run: Plan) -> None:
    tried_again(paced.attempts, run, Outcome.COMMITTED)
    with pytest.raises(AssertionError, match="all say that they committed"):
        check_promises(paced, run, expected=reference.submission, extra_executions=1)


def test_a_result_that_no_attempt_made(paced: PacedRig, reference: Reference, run: Plan) -> None:
    (paced.storage.home.attempts(run.adapters[0].key) / "0001.end.json").unlink()
    paced.attempts.end(run.adapters[0].key, 1, Outcome.LOST, ErrorClass.WORKER_LOST, "given up")
    with pytest.raises(AssertionError, match="committed by attempt 1, but it is"):
        check_promises(paced, run, expected=reference.submission, extra_executions=0)


def test_a_partial_file(paced: PacedRig, reference: Reference, run: Plan) -> None:
    commit = paced.storage.read(ADAPTERS, run.adapters[0].key)
    assert commit is not None
    weights = paced.storage.path(commit.files["adapter_model.safetensors"])
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="does not match its checksum"):
        check_promises(paced, run, expected=reference.submission, extra_executions=0)


def test_another_submission(paced: PacedRig, reference: Reference, run: Plan) -> None:
    with pytest.raises(AssertionError, match="differs from the fault-free"):
        check_promises(paced, run, expected=reference.submission + b"\n", extra_executions=0)
    paced.storage.home.submission(run.run, run.submission).write_bytes(reference.submission[:-1])
    with pytest.raises(AssertionError):
        check_promises(paced, run, expected=reference.submission, extra_executions=0)


def test_a_unit_that_is_stuck(paced: PacedRig, reference: Reference, run: Plan) -> None:
    key = run.cells[0].key
    paced.attempts.begin(key, host="h", worker="w", run=run.run, log=paced.storage.home.log(key, 2), group=1)
    with pytest.raises(AssertionError, match="an outcome for every attempt did not come about"):
        check_promises(paced, run, expected=reference.submission, extra_executions=1)


def test_a_lease_that_nobody_gave_back(paced: PacedRig, reference: Reference, run: Plan) -> None:
    paced.client.set(f"nonet:lease:{run.adapters[0].key}", "somebody", px=60_000)
    with pytest.raises(AssertionError, match="an end of every lease"):
        check_promises(paced, run, expected=reference.submission, extra_executions=0)


def test_an_execution_that_no_fault_explains(paced: PacedRig, reference: Reference, run: Plan) -> None:
    tried_again(paced.attempts, run, Outcome.LOST)
    with pytest.raises(AssertionError, match=r"executions of .* units, 0 explained"):
        check_promises(paced, run, expected=reference.submission, extra_executions=0)
    check_promises(paced, run, expected=reference.submission, extra_executions=1)


def tried_again(attempts: Attempts, plan: Plan, outcome: Outcome) -> None:
    """One more attempt at the first cell, which ended with `outcome`."""
    key = plan.cells[0].key
    attempt = attempts.begin(key, host="h", worker="w", run=plan.run, log=attempts.home.log(key, 2), group=1)
    assert attempt is not None
    attempts.end(key, attempt.epoch, outcome)
