"""The result of a run as its user finds it: the submission and its manifest in the run's folder.

Knows when both are what a vote made. The committed vote is the truth: what is damaged here is written again from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nonet.atomic import replace_file
from nonet.home import Home
from nonet.key import digest
from nonet.plan import VOTES, Plan
from nonet.storage import DamagedError, Storage

Stamp = tuple[tuple[int, int, int], ...]
"""(modified, size, inode) of each file that a result consists of: another stamp means another look."""


def write_result(home: Home, plan: Plan, submission: bytes, manifest: Mapping[str, Any]) -> None:
    """Put the submission and its manifest into the run's folder, each whole; the same result gives the same bytes."""
    replace_file(home.submission(plan.run, plan.submission), submission)
    replace_file(
        home.manifest(plan.run, plan.submission), json.dumps(manifest, ensure_ascii=False, indent=1).encode() + b"\n"
    )


def result_stands(storage: Storage, plan: Plan, key: str) -> bool:
    """Whether the run's folder holds, to the byte, what the committed vote `key` made; raises OSError."""
    try:
        commit = storage.read(VOTES, key)
        manifest = json.loads(storage.home.manifest(plan.run, plan.submission).read_bytes())
        submission = storage.home.submission(plan.run, plan.submission).read_bytes()
    except (DamagedError, FileNotFoundError, ValueError):
        return False
    if commit is None or manifest != commit.body.get("manifest"):
        return False
    wanted: str = manifest["submission"]["sha256"]
    return digest(submission) == wanted


def result_stamp(storage: Storage, plan: Plan, key: str) -> Stamp | None:
    """The stamp of the result of `plan` and of the vote `key`, None where a file of them is missing."""
    home = storage.home
    files = (
        home.submission(plan.run, plan.submission),
        home.manifest(plan.run, plan.submission),
        home.commits(VOTES) / f"{key}.json",
    )
    try:
        return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in (file.stat() for file in files))
    except FileNotFoundError:
        return None
