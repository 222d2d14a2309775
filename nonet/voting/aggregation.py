"""Aggregation: from the ballots of a run on storage to its verdicts and its submission. Knows no queue, needs no GPU.

The result depends on the plan, the vote's settings and the ballots alone: two aggregations give the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nonet.questions.problem import Problem
from nonet.questions.rows import read_problems
from nonet.questions.submission import submission_bytes
from nonet.runs.plan import GOLD, Cell, Plan, QuestionSet, told_bases
from nonet.stores.key import SCHEMA, digest
from nonet.stores.storage import Storage
from nonet.voting.ballot import Ballot, Ballots
from nonet.voting.crossfit import Estimate, estimate
from nonet.voting.labelled import Labelled, labelled
from nonet.voting.vote import Member, Verdict, VoteSpec, tally
from nonet.voting.voters import BAGS, SEED, choose_voters, measured


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What the ballots of a run come to. `members` is every candidate in the plan's order, `voters` those that voted
    with their weights, `validation` what the same vote comes to on the validation questions.
    """

    key: str
    members: tuple[Member, ...]
    voters: tuple[Member, ...]
    validation: Estimate
    verdicts: tuple[Verdict, ...]
    submission: bytes
    manifest: Mapping[str, Any]


def aggregate(storage: Storage, plan: Plan, spec: VoteSpec) -> Aggregation:
    """Vote over the ballots that are committed.

    Raises nonet.voting.vote.MissingBallotsError when ballots are missing and `spec` does not allow that, and
    nonet.stores.storage.DamagedError when one fails its checks (it is set aside then, and computed again).
    """
    present, missing = _by_presence(storage, plan)
    cast = collect(storage, present, QuestionSet.TEST)
    test = problems_of(storage, plan, QuestionSet.TEST.value)
    known = validated(storage, plan, present)
    members = measured([adapter.name for adapter in plan.adapters], known)
    voters = choose_voters(spec, members, known)
    questions = [(q.id, q.letters) for p in test for q in p.questions]
    verdicts = tally(questions, cast, voters, spec)
    key = plan.vote_key(_json(asdict(spec)), present)
    submission = submission_bytes(test, verdicts)
    validation = estimate(spec, members, voters, known)
    manifest = _manifest(plan, spec, key, members, voters, validation, verdicts, submission, missing)
    return Aggregation(key, members, voters, validation, verdicts, submission, manifest)


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


def validated(storage: Storage, plan: Plan, cells: Iterable[Cell]) -> Labelled:
    """The validation questions of `plan` with their gold and the ballots of `cells` on them; raises DamagedError."""
    return labelled(problems_of(storage, plan, GOLD), collect(storage, cells, QuestionSet.VALIDATION))


def spec_of(plan: Plan, **changes: Any) -> VoteSpec:
    """The vote's settings as the batch has them, with `changes` over them."""
    stored: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plan.vote.items()}
    return replace(VoteSpec(**stored), **changes)


def _by_presence(storage: Storage, plan: Plan) -> tuple[list[Cell], list[Cell]]:
    answered = {cell.scope: storage.committed(cell.scope) for cell in plan.cells[: len(plan.adapters)]}
    present = [c for c in plan.cells if c.key in answered[c.scope]]
    return present, [c for c in plan.cells if c.key not in answered[c.scope]]


def problems_of(storage: Storage, plan: Plan, name: str) -> tuple[Problem, ...]:
    """The rows of the input that the plan calls `name`, () where it has none; raises DamagedError, ValueError."""
    digest_ = plan.inputs[name]
    if digest_ == digest(b""):  # a batch without validation
        return ()
    path = storage.input_path(digest_)
    problems, defects = read_problems(path, labelled=name == GOLD)
    if defects:
        raise ValueError(f"{storage.store.place(path)}: {defects[0]}; submit the batch again")
    return problems


def _manifest(
    plan: Plan,
    spec: VoteSpec,
    key: str,
    members: Sequence[Member],
    voters: Sequence[Member],
    validation: Estimate,
    verdicts: Sequence[Verdict],
    submission: bytes,
    missing: Sequence[Cell],
) -> dict[str, Any]:
    planned = {a.name: a for a in plan.adapters}
    levels = Counter(v.level.value for v in verdicts)
    return {
        "schema": SCHEMA,
        "run": plan.run,
        **told_bases(plan),
        "submission": {
            "sha256": digest(submission),
            "questions": len(verdicts),
            "rows": submission.count(b"\n"),
        },
        "vote": {"key": key, "settings": _json(asdict(spec)), "voters": _voters(voters)}
        | ({"greedy": {"bags": BAGS, "seed": SEED}} if spec.select == "greedy" else {}),
        "validation": validation.to_json(),
        "members": [
            {"name": m.name, "key": planned[m.name].key, "validation": m.validation}
            | ({"base": planned[m.name].base} if planned[m.name].base else {})
            for m in members
        ],
        "decided": dict(sorted(levels.items())),
        "abstentions": sum(v.abstentions for v in verdicts),
        **({"stopped": _stopped(verdicts, members, voters)} if plan.stop_when_decided else {}),
        "partial": {"allowed": spec.allow_partial, "quorum": spec.quorum, "missing": [c.name for c in missing]},
    }


def _stopped(verdicts: Sequence[Verdict], members: Sequence[Member], voters: Sequence[Member]) -> dict[str, int]:
    """How many `ballots` on the test were not needed, `of` all that the members could cast: those of voters on
    questions that were decided without them, and all of members that do not vote.
    """
    spared = sum(verdict.unasked for verdict in verdicts) + len(verdicts) * (len(members) - len(voters))
    return {"ballots": spared, "of": len(verdicts) * len(members)}


def _voters(voters: Sequence[Member]) -> list[dict[str, Any]]:
    return [{"name": m.name, "weight": m.weight, "temperature": m.temperature} for m in voters]


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value))
