"""Verification: whether the files of a run are what they should be, and its submission follows from its ballots.

Reads only, so that a storage that cannot be written will do; what is damaged stays where it is. Prints nothing.
"""

from __future__ import annotations

from nonet.runs.plan import Plan
from nonet.stores.storage import Storage
from nonet.verification.artifacts import check_adapters, check_ballots
from nonet.verification.check import Check, Outcome
from nonet.verification.planned import check_bases, check_inputs, check_keys, check_plan
from nonet.verification.result import check_score, check_submission, check_vote

__all__ = ["Check", "Outcome", "verify"]

_AGAIN = "mend the above, then verify again"


def verify(storage: Storage, plan: Plan) -> tuple[Check, ...]:
    """Every check of the run of `plan`: one that passed for each kind of thing, or one for each thing that did not.

    Raises OSError where the storage cannot be read at all.
    """
    storage = Storage(storage.home)  # which has seen nothing yet
    found = list(check_plan(storage, plan))
    if not _sound(found):
        return (*found, Check(Outcome.UNCHECKED, "the rest", "it follows from the plan, which was changed", _AGAIN))
    found += check_inputs(storage, plan)
    if _sound(found):
        found += check_keys(storage, plan)
    found += check_adapters(storage, plan)
    if _sound(found):
        found += check_ballots(storage, plan)
    if _sound(found):
        found += check_vote(storage, plan)
    else:
        text = "what it follows from is damaged, so it was not taken again"
        found.append(Check(Outcome.UNCHECKED, "vote", text, _AGAIN))
    return (*found, *check_submission(storage, plan), *check_score(storage, plan), *check_bases(plan))


def _sound(found: list[Check]) -> bool:
    return all(check.outcome is not Outcome.FAIL for check in found)
