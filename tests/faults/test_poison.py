"""Work that kills or starves the process it runs in, every time: set aside with its reason; all other work is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config.queues import INFER_TASK
from nonet.runs.attempt import ErrorClass, Outcome
from nonet.runs.plan import Plan
from scheduler.state import Phase, UnitState
from tasks.app import make_app
from tests.faults.given import last_shard, submit_given
from tests.faults.paced import PacedRig, Reference
from tests.promises import check_promises
from tests.rig import Rig
from tests.small_batch import write_batch
from tests.undisturbed import Undisturbed

MIB = 2**20
LIMIT = 2


@pytest.fixture
def limited(paced: PacedRig) -> PacedRig:
    """A rig that allows `LIMIT` failures."""
    paced.environment["NONET_FAILURE_LIMIT"] = str(LIMIT)
    paced.settings = paced.settings.model_copy(update={"failure_limit": LIMIT})
    return paced


def test_poison_shard(limited: PacedRig, reference: Reference) -> None:
    """Row 19: exit 139 each time; set aside after N tries, all others finish, the vote says what is missing."""
    rig = limited
    rig.start("redis")
    plan = submit_given(rig, reference, lambda plan: [(c.scope, c.key) for c in plan.cells])
    shard = plan.shards[-1]
    rig.environment["NONET_PACE_POISON"] = problem_of(rig, plan, shard.start)
    rig.start("scheduler", "all0")
    rig.wait_for_phase(plan, Phase.BLOCKED)
    state = rig.state(plan)
    poisoned = [c for c in plan.cells if c.shard == shard]
    assert {u.name for u in state.failed} == {c.name for c in poisoned}
    others = {u.state for u in state.units} - {UnitState.FAILED}
    assert others == {UnitState.COMMITTED}, "all others finish"
    for cell in poisoned:
        tries = rig.attempts.history(cell.key)
        assert [a.error_class for a in tries] == [ErrorClass.WORKER_LOST] * LIMIT
        assert "status 139" in (tries[-1].error or "")
        assert tries[-1].group == 1, "tried alone before it is given up"
    check_promises(rig, plan, expected=None, extra_executions=len(poisoned) * (LIMIT - 1))
    voted = rig.nonet("vote", plan.run, check=False)
    assert voted.returncode == 4
    for adapter in plan.adapters:
        assert f"{adapter.name} lacks {shard.questions}" in voted.stdout + voted.stderr
    assert "139" in rig.nonet("status", plan.run, check=False).stdout
    rig.environment.pop("NONET_PACE_POISON")
    rig.kill("all0")
    rig.start("all0")
    rig.nonet("rerun", plan.run, "--failed")
    rig.finish(plan)
    check_promises(rig, plan, expected=reference.submission, extra_executions=len(poisoned) * LIMIT)


def test_poison_for_one_adapter_leaves_its_group_alone(limited: PacedRig, tmp_path: Path) -> None:
    """Row 19: one cell of a group; the others of the group are answered; a vote that may be partial is cast."""
    rig = limited
    rig.start("redis")
    plan = rig.submit(write_batch(tmp_path / "batch", rows=8, vote=", allow_partial: true, quorum: 1"))
    shard, adapter = plan.shards[-1], plan.adapters[0]
    rig.environment["NONET_PACE_POISON"] = f"{problem_of(rig, plan, shard.start)}@{adapter.key}"
    rig.start("scheduler", "all0")
    rig.finish(plan)
    (failed,) = rig.state(plan).failed
    assert failed.name == f"{adapter.name}/{shard.name}"
    manifest = rig.storage.home.submission(plan.run, f"{plan.submission}.manifest.json")
    assert json.loads(manifest.read_bytes())["partial"]["missing"] == [failed.name]
    check_promises(rig, plan, expected=rig.submission(plan), extra_executions=LIMIT)


def test_a_message_older_than_the_failure_of_its_group(limited: PacedRig, reference: Reference) -> None:
    """Rows 12 and 19: a shard was sent twice. Its group fails once; the second message must not let it fail again
    together, or one bad cell would exhaust the others."""
    rig = limited
    rig.start("redis")
    plan = submit_given(rig, reference, last_shard)
    shard, adapter = plan.shards[-1], plan.adapters[0]
    cells = [c for c in plan.cells if c.shard == shard]
    app = make_app(rig.url)
    for _ in range(2):
        app.send_task(INFER_TASK, kwargs={"run": plan.run, "shard": shard.name, "keys": [c.key for c in cells]})
    app.close()
    rig.environment["NONET_PACE_POISON"] = f"{problem_of(rig, plan, shard.start)}@{adapter.key}"
    rig.start("all0")
    rig.wait_for_log("all0", "to be tried in a smaller group")
    assert [len(rig.attempts.history(c.key)) for c in cells] == [1] * len(cells)
    rig.start("scheduler")
    rig.wait_for_phase(plan, Phase.BLOCKED)
    (failed,) = rig.state(plan).failed
    assert failed.name == f"{adapter.name}/{shard.name}"
    assert [a.group for a in rig.attempts.history(failed.key)] == [len(cells), 1]
    check_promises(rig, plan, expected=None, extra_executions=len(cells))


def test_group_that_needs_too_much_memory_is_halved(paced: PacedRig, tmp_path: Path) -> None:
    """Row 20: three adapters at once exceed a real limit on the process, one at a time do not."""
    paced.environment |= {"NONET_MEMORY_LIMIT": "400MiB", "NONET_PACE_MEMORY": str(150 * MIB)}
    paced.start("redis", "scheduler")
    with paced.held("answering"):
        plan = paced.submit(write_batch(tmp_path / "batch", rows=8, mixes=3))
        paced.start("all0")  # after the submit, which would say that a real base does not fit into so little
        paced.wait(lambda: paced.storage.committed("adapters") == {a.key for a in plan.adapters}, 300, "adapters")
    paced.finish(plan)
    crowded = [c for c in plan.cells if len(paced.attempts.history(c.key)) > 1]
    assert crowded, "no group was too large"
    for cell in crowded:
        *failures, last = paced.attempts.history(cell.key)
        assert {a.error_class for a in failures} == {ErrorClass.OUT_OF_MEMORY}
        assert [a.group for a in (*failures, last)] == [3, 1]
        assert last.outcome is Outcome.COMMITTED
    check_promises(paced, plan, expected=paced.submission(plan), extra_executions=len(crowded))


def test_too_little_memory_for_one(limited: PacedRig, reference: Reference) -> None:
    """Row 20: bounded tries, then a clear failure; with more memory the rerun completes the run."""
    rig = limited
    rig.environment |= {"NONET_MEMORY_LIMIT": "300MiB", "NONET_PACE_MEMORY": str(500 * MIB)}
    rig.start("redis")
    plan = submit_given(rig, reference, last_shard)
    rig.start("scheduler", "all0")
    rig.wait_for_phase(plan, Phase.BLOCKED)
    failed = rig.state(plan).failed
    assert len(failed) == len(plan.adapters)
    for unit in failed:
        tries = rig.attempts.history(unit.key)
        assert [a.group for a in tries] == [2, *[1] * LIMIT]
        assert {a.error_class for a in tries} == {ErrorClass.OUT_OF_MEMORY}
        assert "NONET_MEMORY_LIMIT allows 300.0MiB" in (tries[-1].error or "")
    check_promises(rig, plan, expected=None, extra_executions=len(failed) * LIMIT)
    rig.environment["NONET_MEMORY_LIMIT"] = "2GiB"
    rig.kill("all0")
    rig.start("all0")
    rig.nonet("rerun", plan.run, "--failed")
    rig.finish(plan)
    check_promises(rig, plan, expected=reference.submission, extra_executions=len(failed) * (LIMIT + 1))


def test_real_engine_out_of_memory(rig: Rig, undisturbed: Undisturbed) -> None:
    """Row 20: torch meets the limit too, and what it says is understood; with more memory the rerun completes."""
    rig.environment |= {"NONET_MEMORY_LIMIT": "330MiB", "NONET_FAILURE_LIMIT": "1"}
    rig.settings = rig.settings.model_copy(update={"failure_limit": 1})
    rig.start("redis")
    plan = submit_given(rig, undisturbed, last_shard)
    rig.start("scheduler", "cpu", "w0")
    rig.wait_for_phase(plan, Phase.BLOCKED)
    failed = rig.state(plan).failed
    assert len(failed) == len(plan.adapters)
    for unit in failed:
        tries = rig.attempts.history(unit.key)
        assert [a.group for a in tries] == [2, 1]
        assert {a.error_class for a in tries} == {ErrorClass.OUT_OF_MEMORY}
    check_promises(rig, plan, expected=None, extra_executions=len(failed))
    del rig.environment["NONET_MEMORY_LIMIT"]
    rig.kill("w0")
    rig.start("w0")
    rig.nonet("rerun", plan.run, "--failed")
    rig.wait_for_phase(plan, Phase.COMPLETE)
    check_promises(rig, plan, expected=undisturbed.submission, extra_executions=2 * len(failed))


def problem_of(rig: Rig, plan: Plan, row: int) -> str:
    """Id of a problem of the test."""
    rows = rig.storage.home.input(plan.inputs["test"]).read_text("utf-8").splitlines()
    return str(json.loads(rows[row])["id"])
