"""The score of a run against gold, remembered beside the run: what the logbook and the report show as its test score.

Knows one file, `runs/<run>/score.json`. The gold itself is kept as an input, so that the report can show it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nonet.questions.problem import Problem
from nonet.questions.rows import dumps, problem_row, read_problems
from nonet.runs.plan import Plan
from nonet.stores.key import SCHEMA
from nonet.stores.storage import DamagedInputError, Storage
from nonet.voting.score import Score


@dataclass(frozen=True, slots=True)
class RunScore:
    """The scores of the run's own submission and of its `members`; `vote` is the key of the vote that was scored,
    `gold` the digest of the labelled rows.
    """

    vote: str
    gold: str
    submission: Score
    members: Mapping[str, Score]


def remember_score(
    storage: Storage, plan: Plan, gold: Sequence[Problem], submission: Score, members: Mapping[str, Score]
) -> bool:
    """Keep what the run of `plan` scored against `gold`, over what was kept before; False where it has not voted yet.

    Raises OSError.
    """
    vote = vote_of(storage, plan)
    if vote is None:
        return False
    record = {
        "schema": SCHEMA,
        "vote": vote,
        "gold": storage.put_input(dumps(problem_row(problem) for problem in gold)),
        "submission": submission.to_json(),
        "members": {name: score.to_json() for name, score in members.items()},
    }
    text = json.dumps(record, ensure_ascii=False, indent=1).encode() + b"\n"
    storage.store.replace(storage.home.score(plan.run), text)
    return True


def remembered_score(storage: Storage, plan: Plan) -> RunScore | None:
    """What the run of `plan` scored; None where nobody has scored it, or only the vote before the present one."""
    try:
        record = json.loads(storage.store.read(storage.home.score(plan.run)))
        members = {name: _score(score) for name, score in record["members"].items()}
        found = RunScore(record["vote"], record["gold"], _score(record["submission"]), members)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if found.vote == vote_of(storage, plan) else None


def remembered_gold(storage: Storage, plan: Plan) -> tuple[Problem, ...]:
    """The labelled rows that the run was scored against; () where nobody has, or they are gone."""
    score = remembered_score(storage, plan)
    if score is None:
        return ()
    try:
        return read_problems(storage.input_path(score.gold), labelled=True)[0]
    except (DamagedInputError, ValueError):
        return ()


def manifest_of(storage: Storage, plan: Plan) -> Mapping[str, Any] | None:
    """The manifest of the run's submission; None where there is none yet, or a damaged one."""
    try:
        found = json.loads(storage.store.read(storage.home.manifest(plan.run, plan.submission)))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def vote_of(storage: Storage, plan: Plan) -> str | None:
    """The key of the vote that made the run's submission."""
    manifest = manifest_of(storage, plan)
    try:
        return None if manifest is None else str(manifest["vote"]["key"])
    except (KeyError, TypeError):
        return None


def _score(record: Mapping[str, Any]) -> Score:
    return Score(int(record["correct"]), int(record["total"]), int(record["missing"]))
