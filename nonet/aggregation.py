"""Aggregation: from the ballots of a run on storage to its verdicts and its submission. Knows no queue, needs no GPU.

The result depends on the plan, the vote's settings and the ballots alone: two aggregations give the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nonet.ballot import Ballot
from nonet.key import SCHEMA, digest
from nonet.plan import GOLD, Cell, Plan, QuestionSet
from nonet.problem import Problem
from nonet.rows import read_problems
from nonet.storage import Storage
from nonet.submission import submission_bytes
from nonet.vote import Member, Verdict, VoteSpec, choose_members, tally

Ballots = Mapping[str, Mapping[str, Ballot]]
"""Member name → question id → ballot."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What the ballots of a run come to. `members` is every candidate by merit, `voters` those that voted."""

    key: str
    members: tuple[Member, ...]
    voters: tuple[Member, ...]
    verdicts: tuple[Verdict, ...]
    submission: bytes
    manifest: Mapping[str, Any]


def aggregate(storage: Storage, plan: Plan, spec: VoteSpec) -> Aggregation:
    """Vote over the ballots that are committed.

    Raises nonet.vote.MissingBallotsError when ballots are missing and `spec` does not allow that, and
    nonet.storage.DamagedError when one fails its checks (it is set aside then, and computed again).
    """
    present, missing = _by_presence(storage, plan)
    cast = collect(storage, present, QuestionSet.TEST)
    test = _problems(storage, plan, QuestionSet.TEST.value)
    members = measure(plan, collect(storage, present, QuestionSet.VALIDATION), gold_of(storage, plan))
    voters = choose_members(spec, members)
    questions = [(q.id, q.letters) for p in test for q in p.questions]
    verdicts = tally(questions, cast, voters, spec)
    key = plan.vote_key(_json(asdict(spec)), present)
    submission = submission_bytes(test, verdicts)
    manifest = _manifest(plan, spec, key, members, voters, verdicts, submission, missing)
    return Aggregation(key, members, voters, verdicts, submission, manifest)


def current_key(storage: Storage, plan: Plan, spec: VoteSpec) -> str:
    """Key of the vote that the ballots committed now allow."""
    present, _ = _by_presence(storage, plan)
    return plan.vote_key(_json(asdict(spec)), present)


def collect(storage: Storage, cells: Iterable[Cell], questions: QuestionSet) -> Ballots:
    """The ballots of those `cells` that are on `questions`, verified; raises DamagedError.

    One question set at a time: a row of the validation split may have the id of a row of the test.
    """
    cast: dict[str, dict[str, Ballot]] = {}
    for cell in cells:
        commit = storage.read(cell.scope, cell.key) if cell.shard.set is questions else None
        if commit is not None:
            ballots = (Ballot.from_json(row) for row in commit.body["ballots"])
            cast.setdefault(cell.adapter.name, {}).update((b.question_id, b) for b in ballots)
    return cast


def gold_of(storage: Storage, plan: Plan) -> dict[str, str]:
    """Gold letters of the validation questions, by question id."""
    problems = _problems(storage, plan, GOLD)
    return {q.id: q.gold for p in problems for q in p.questions if q.gold is not None}


def measure(plan: Plan, cast: Ballots, gold: Mapping[str, str]) -> tuple[Member, ...]:
    """Every adapter as a member with its accuracy on validation, None where it has no ballots there."""
    members = []
    for adapter in plan.adapters:
        ballots = cast.get(adapter.name, {})
        known = [q for q in gold if q in ballots]
        right = sum(ballots[q].letter == gold[q] for q in known)
        complete = bool(gold) and len(known) == len(gold)
        members.append(Member(adapter.name, right / len(gold) if complete else None))
    return tuple(members)


def spec_of(plan: Plan, **changes: Any) -> VoteSpec:
    """The vote's settings as the batch has them, with `changes` over them."""
    stored: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plan.vote.items()}
    return replace(VoteSpec(**stored), **changes)


def _by_presence(storage: Storage, plan: Plan) -> tuple[list[Cell], list[Cell]]:
    answered = {cell.scope: storage.committed(cell.scope) for cell in plan.cells[: len(plan.adapters)]}
    present = [c for c in plan.cells if c.key in answered[c.scope]]
    return present, [c for c in plan.cells if c.key not in answered[c.scope]]


def _problems(storage: Storage, plan: Plan, name: str) -> tuple[Problem, ...]:
    digest_ = plan.inputs[name]
    storage.read_input(digest_)
    problems, defects = read_problems(storage.home.input(digest_), labelled=name == GOLD)
    if defects:
        raise ValueError(f"{storage.home.input(digest_)}: {defects[0]}; submit the batch again")
    return problems


def _manifest(
    plan: Plan,
    spec: VoteSpec,
    key: str,
    members: Sequence[Member],
    voters: Sequence[Member],
    verdicts: Sequence[Verdict],
    submission: bytes,
    missing: Sequence[Cell],
) -> dict[str, Any]:
    keys = {a.name: a.key for a in plan.adapters}
    levels = Counter(v.level.value for v in verdicts)
    return {
        "schema": SCHEMA,
        "run": plan.run,
        "base": {"model": plan.base.model, "revision": plan.base.revision, "digest": plan.base.digest},
        "submission": {
            "sha256": digest(submission),
            "questions": len(verdicts),
            "rows": submission.count(b"\n"),
        },
        "vote": {"key": key, "settings": _json(asdict(spec)), "voters": [m.name for m in voters]},
        "members": [{"name": m.name, "key": keys[m.name], "validation": m.validation} for m in members],
        "decided": dict(sorted(levels.items())),
        "abstentions": sum(v.abstentions for v in verdicts),
        "partial": {"allowed": spec.allow_partial, "quorum": spec.quorum, "missing": [c.name for c in missing]},
    }


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value))
