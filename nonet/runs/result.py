"""The result of a run as its user finds it: the submission and its manifest in the run's folder.

Knows when both are what a vote made. The committed vote is the truth: what is damaged here is written again from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nonet.runs.plan import VOTES, Plan
from nonet.runs.run_score import vote_of
from nonet.stores.home import Home
from nonet.stores.key import digest
from nonet.stores.storage import DamagedError, Storage
from nonet.stores.store import Stamp


def write_result(home: Home, plan: Plan, submission: bytes, manifest: Mapping[str, Any]) -> None:
    """Put the submission and its manifest into the run's folder, each whole; the same result gives the same bytes."""
    home.store.replace(home.submission(plan.run, plan.submission), submission)
    text = json.dumps(manifest, ensure_ascii=False, indent=1).encode() + b"\n"
    home.store.replace(home.manifest(plan.run, plan.submission), text)


def submission_of(storage: Storage, plan: Plan) -> bytes | None:
    """The submission in the run's folder, None where there is none; raises OSError."""
    try:
        return storage.store.read(storage.home.submission(plan.run, plan.submission))
    except FileNotFoundError:
        return None


def result_stands(storage: Storage, plan: Plan, key: str) -> bool:
    """Whether the run's folder holds what the committed vote `key` made; raises OSError.

    Another run may have committed the vote, since a key is of ballots and settings: then the two manifests differ in
    names (of run, mixes, base), and what must agree is the vote and the submission.
    """
    try:
        commit = storage.read(VOTES, key)
        manifest = json.loads(storage.store.read(storage.home.manifest(plan.run, plan.submission)))
        submission = storage.store.read(storage.home.submission(plan.run, plan.submission))
    except (DamagedError, FileNotFoundError, ValueError):
        return False
    if commit is None or not isinstance(manifest, dict):
        return False
    made = commit.body["manifest"]
    same: bool = manifest == made
    if made["run"] != plan.run:
        found = (manifest.get("run"), vote_of(storage, plan), manifest.get("submission"))
        same = found == (plan.run, key, made["submission"])
    wanted: str = made["submission"]["sha256"]
    return same and digest(submission) == wanted


def result_stamp(storage: Storage, plan: Plan, key: str) -> Stamp | None:
    """The stamps of the files of the result of `plan` and of the vote `key`, None where one of them is missing."""
    home = storage.home
    files = (
        home.submission(plan.run, plan.submission),
        home.manifest(plan.run, plan.submission),
        home.commits(VOTES) / f"{key}.json",
    )
    try:
        return tuple(part for file in files for part in storage.store.stamp(file))
    except FileNotFoundError:
        return None
