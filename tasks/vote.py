"""The final task: vote over the ballots of a run and write its submission. Unpacks, aggregates, publishes."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task

from nonet.report.page import write_report
from nonet.runs.attempt import ErrorClass, Outcome
from nonet.runs.plan import VOTES, Plan
from nonet.runs.result import write_result
from nonet.runs.workbook import write_logbook
from nonet.stores.storage import DamagedError
from nonet.voting.aggregation import Aggregation, aggregate, current_key, spec_of
from nonet.voting.vote import MissingBallotsError
from tasks.claim import Claim, Unit, claimed
from tasks.context import TaskContext, context_of
from tasks.fitness import plan_or_rest

log = logging.getLogger("nonet.vote")
CHANGED = "the ballots have changed since this vote was enqueued; it is enqueued again when they are complete"


def vote(self: Task, run: str, keys: list[str]) -> dict[str, str]:
    """Vote over the ballots of `run`; `keys` holds the one key of the vote. Returns what became of it."""
    context = context_of(self.app)
    plan = plan_or_rest(context, run, keys)
    if plan is None:
        return {}
    (key,) = keys
    unit = Unit(VOTES, key, "vote")
    with claimed(context, run, [unit], 1) as claim:
        for open_unit in claim.open_units():
            _decide(context, claim, open_unit, plan)
    outcome = claim.outcomes.get(unit.name)
    if outcome == "already committed":
        _mend(context, plan)
        _report(context, plan, anew=False)
    elif outcome == Outcome.COMMITTED.value:
        _report(context, plan, anew=True)
    return claim.receipt()


def _decide(context: TaskContext, claim: Claim, unit: Unit, plan: Plan) -> None:
    """Vote and publish. Ballots that are damaged, or gone since the vote was enqueued, are no fault of the vote."""
    spec = spec_of(plan)
    try:
        result = aggregate(context.storage, plan, spec)
    except MissingBallotsError as error:
        if current_key(context.storage, plan, spec) == unit.key:
            claim.fail(unit, ErrorClass.BAD_INPUT, str(error))
        else:
            claim.fail(unit, ErrorClass.STORAGE, CHANGED)
        return
    if result.key != unit.key:
        claim.fail(unit, ErrorClass.STORAGE, CHANGED)
        return
    write_result(context.home, plan, result.submission, result.manifest)
    _log(context)
    claim.commit(unit, body=body_of(result))


def _mend(context: TaskContext, plan: Plan) -> None:
    """Write the result of a committed vote again: the run's folder lacks it (another run committed the same vote), or
    holds it damaged.
    """
    try:
        result = aggregate(context.storage, plan, spec_of(plan))
    except (DamagedError, MissingBallotsError) as error:
        log.warning("run %s: the result cannot be written again yet: %s", plan.run, error)
        return
    write_result(context.home, plan, result.submission, result.manifest)
    _log(context)


def _log(context: TaskContext) -> None:
    """Write the logbook, before the commit: a vote that is killed on the way is taken again, and so is this.

    No vote depends on it: whatever goes wrong, the logbook can be made from storage at any time.
    """
    try:
        write_logbook(context.storage)
    except Exception as error:
        log.warning("log.xlsx could not be written: %s: %s; `nonet logbook` does it", type(error).__name__, error)


def _report(context: TaskContext, plan: Plan, *, anew: bool) -> None:
    """Write the report, unless there is one and it is not to be made `anew`.

    After the commit: drawing it takes seconds and large libraries, and no vote may wait for it.
    """
    try:
        if anew or not context.home.store.exists(context.home.report(plan.run)):
            write_report(context.storage, context.attempts, plan)
    except Exception as error:
        place = f"the report of {plan.run} could not be written: {type(error).__name__}: {error}"
        log.warning("%s; `nonet report %s` does it", place, plan.run)


def body_of(result: Aggregation) -> dict[str, Any]:
    """The vote as an artifact: the manifest and every verdict."""
    verdicts = [
        {
            "q": v.question_id,
            "letter": v.letter,
            "level": v.level.value,
            "votes": dict(v.votes),
            "abstentions": v.abstentions,
            **({"unasked": v.unasked} if v.unasked else {}),
        }
        for v in result.verdicts
    ]
    return {"manifest": dict(result.manifest), "verdicts": verdicts}
