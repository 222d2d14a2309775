"""What a compute process must know to stop when decided: who votes, by merit, and what is known of a shard already.

Reads validation ballots and those that other members have committed on the shard; of the latter none has to be there:
whatever ballots are missing count as still to come.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from nonet.runs.plan import Cell, Plan, QuestionSet, Shard
from nonet.stores.storage import DamagedError, Storage
from nonet.voting.aggregation import collect, spec_of, validated
from nonet.voting.vote import Member
from nonet.voting.voters import choose_voters, measured


def stop_rule(storage: Storage, plan: Plan, shard: Shard, cells: Collection[Cell]) -> dict[str, Any] | None:
    """The `decide` of an order (nonet.compute.orders) for `shard`, all of whose `cells` are given; None where every
    member answers everything.

    Raises DamagedError where validation ballots are damaged or gone: they are made again first.
    """
    if not plan.stop_when_decided or shard.set is not QuestionSet.TEST:
        return None
    voters = _voters(storage, plan)
    cast = collect(storage, [cell for cell in cells if storage.has(cell.scope, cell.key)], QuestionSet.TEST)
    keys = {adapter.name: adapter.key for adapter in plan.adapters}
    return {
        "voters": [[keys[voter.name], voter.weight] for voter in voters],
        "cast": {
            keys[name]: {question: list(ballot.letters) for question, ballot in own.items() if ballot.asked}
            for name, own in cast.items()
        },
    }


def _voters(storage: Storage, plan: Plan) -> tuple[Member, ...]:
    """Those that vote, by merit; in the plan's order where there is no validation."""
    cells = [c for c in plan.cells if c.shard.set is QuestionSet.VALIDATION and storage.has(c.scope, c.key)]
    known, names = validated(storage, plan, cells), [adapter.name for adapter in plan.adapters]
    if known.gold and not known.complete(names):
        lacking = ", ".join(name for name in names if not known.complete([name]))
        raise DamagedError(f"validation ballots of {lacking} are gone since this was enqueued; they are answered first")
    found = choose_voters(spec_of(plan), measured(names, known), known)
    return tuple(sorted(found, key=lambda member: (-member.merit, names.index(member.name))))
