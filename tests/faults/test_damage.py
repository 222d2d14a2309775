"""Results bit-flipped, truncated and deleted: found when they are read, set aside, and computed again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nonet.runs.attempt import ErrorClass
from nonet.runs.plan import ADAPTERS, VOTES, Plan
from tests.faults.given import last_shard, nothing, submit_given
from tests.faults.paced import PacedRig, Reference
from tests.promises import check_promises


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def delete(path: Path) -> None:
    path.unlink()


Damage = Callable[[Path], None]
damages = pytest.mark.parametrize("damage", [flip, truncate, delete])


@damages
@pytest.mark.parametrize("file", ["adapter_model.safetensors", "commit"])
def test_damaged_adapter(paced: PacedRig, reference: Reference, damage: Damage, file: str) -> None:
    """Row 16: found by the shard that needs it; trained again to the same bytes; its ballots stay."""
    plan = submit_given(paced, reference, last_shard)
    key = plan.adapters[0].key
    commit = paced.storage.read(ADAPTERS, key)
    assert commit is not None
    damage(record(paced, ADAPTERS, key) if file == "commit" else paced.storage.path(commit.files[file]))
    paced.start("redis", "scheduler", "all0")
    paced.finish(plan)
    assert paced.adapter_digests(plan) == reference.adapters
    assert len(paced.attempts.history(key)) == 1 + 1, "trained once more"
    assert set_aside(paced, ADAPTERS, key) == (0 if (file, damage) == ("commit", delete) else 1)
    check_promises(paced, plan, expected=reference.submission, extra_executions=2, deleted=[key])


@damages
def test_damaged_ballots(paced: PacedRig, reference: Reference, damage: Damage) -> None:
    """Row 16: found by the vote, which waits until they are cast again; two of them at once."""
    plan = submit_given(paced, reference, nothing)
    cells = [plan.cells[0], plan.cells[-1]]
    for cell in cells:
        damage(record(paced, cell.scope, cell.key))
    paced.start("redis", "scheduler", "all0")
    paced.finish(plan)
    for cell in cells:
        assert set_aside(paced, cell.scope, cell.key) == (damage is not delete)
        assert len(paced.attempts.history(cell.key)) == 1 + 1
    tries = paced.attempts.history(vote_key(plan))
    assert {a.error_class for a in tries} <= {None, ErrorClass.STORAGE}, "no fault of the vote"
    explained = 2 + 2 * (damage is not delete)
    deleted = [c.key for c in cells]
    check_promises(paced, plan, expected=reference.submission, extra_executions=explained, deleted=deleted)


def test_damaged_result(paced: PacedRig, reference: Reference) -> None:
    """Row 16: the submission, its manifest and the vote itself, each in each way, one after the other."""
    plan = submit_given(paced, reference, nothing)
    paced.start("redis", "scheduler", "all0")
    paced.finish(plan)
    submission = paced.storage.home.submission(plan.run, plan.submission)
    manifest = submission.with_name(f"{plan.submission}.manifest.json")
    wanted = submission.read_bytes(), manifest.read_bytes()
    for path in (submission, manifest, record(paced, VOTES, vote_key(plan))):
        for damage in (flip, truncate, delete):
            damage(path)

            def mended(path: Path = path) -> bool:
                return path.exists() and (submission.read_bytes(), manifest.read_bytes()) == wanted

            paced.wait(mended, 300, f"{path.name} mended after {damage.__name__}")
            paced.finish(plan)
    assert set_aside(paced, VOTES, vote_key(plan)) == 2
    check_promises(paced, plan, expected=reference.submission, extra_executions=3, deleted=[vote_key(plan)])


def test_damaged_plan_and_inputs_are_mended_by_a_submit(paced: PacedRig, reference: Reference) -> None:
    """Row 16: what only the user has is asked for, and the same run goes on."""
    plan = submit_given(paced, reference, nothing)
    path = paced.storage.home.plan(plan.run)
    flip_brace = path.read_bytes().replace(b"{", b"[", 1)
    path.write_bytes(flip_brace)
    gold = paced.storage.home.input(plan.inputs["gold"])
    truncate(gold)
    paced.start("redis", "scheduler", "all0")
    paced.wait_for_log("scheduler", "cannot be read .*; submit its batch again")
    paced.nonet("submit", str(reference.batch))
    paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


def record(rig: PacedRig, scope: str, key: str) -> Path:
    return rig.storage.home.commits(scope) / f"{key}.json"


def vote_key(plan: Plan) -> str:
    return plan.vote_key(plan.vote, plan.cells)


def set_aside(rig: PacedRig, scope: str, key: str) -> int:
    return len(list(rig.storage.home.quarantine.glob(f"{scope}.{key}.*")))
