"""A run that has come part of its way: what the undisturbed run made is given, a test computes the rest only."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from nonet.runs.plan import ADAPTERS, Plan
from tests.faults.paced import Reference
from tests.rig import Rig
from tests.undisturbed import Undisturbed

FOLDERS = ("commits", "blobs", "attempts", "logs")


def submit_given(
    rig: Rig, undisturbed: Undisturbed | Reference, missing: Callable[[Plan], list[tuple[str, str]]]
) -> Plan:
    """Submit the undisturbed run's batch over all that it made, less its vote and `missing` (scope and key)."""
    for folder in FOLDERS:
        shutil.copytree(undisturbed.home / folder, rig.home / folder)
    shutil.rmtree(rig.home / "commits" / "votes")
    plan = rig.submit(undisturbed.batch)
    home = rig.storage.home
    lacking = [*missing(plan), ("votes", plan.vote_key(plan.vote, plan.cells))]
    for scope, key in lacking:
        (home.commits(scope) / f"{key}.json").unlink(missing_ok=True)
        for made in (home.blob(key), home.attempts(key), home.log(key, 1).parent):
            shutil.rmtree(made, ignore_errors=True)
    return plan


def nothing(_plan: Plan) -> list[tuple[str, str]]:
    """Only the vote is missing."""
    return []


def first_training(plan: Plan) -> list[tuple[str, str]]:
    """The first adapter is missing, and of its ballots those on the last shard."""
    adapter = plan.adapters[0]
    (cell,) = (c for c in plan.cells if c.adapter == adapter and c.shard == plan.shards[-1])
    return [(ADAPTERS, adapter.key), (cell.scope, cell.key)]


def last_shard(plan: Plan) -> list[tuple[str, str]]:
    """The cells of the last shard are missing."""
    return [(c.scope, c.key) for c in plan.cells if c.shard == plan.shards[-1]]
