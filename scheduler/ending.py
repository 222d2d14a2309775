"""The end of a run as people are told of it: which end it is, and what there is to say. Sends nothing.

A run may end more than once: blocked, then, after a rerun, complete. Each end has an id of its own, made of what ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nonet.runs.run_score import manifest_of, remembered_score
from nonet.stores.key import key_of
from nonet.stores.storage import Storage
from scheduler.state import Phase, RunState, UnitStatus

MOST_FAILURES = 20
"""Failures told by name; the others are counted."""


@dataclass(frozen=True, slots=True)
class Ending:
    """One end of a run: `ended` is in seconds since 1970, on the clock of whoever wrote what ended it."""

    run: str
    id: str
    ended: float


def ending_of(storage: Storage, state: RunState) -> Ending | None:
    """The end of a run that has come to one; None while it goes on. Raises OSError."""
    home, run = storage.home, state.plan.run
    try:
        match state.phase:
            case Phase.COMPLETE if state.vote is not None:
                ended = storage.store.modified(home.submission(run, state.plan.submission))
                what: object = state.vote.key
            case Phase.CANCELLED:
                what = ended = storage.store.modified(home.cancelled(run))
            case Phase.BLOCKED:
                ended = max((u.last.ended or u.last.started for u in state.failed if u.last is not None), default=0.0)
                what = [[unit.key, unit.attempts] for unit in state.failed]
            case _:
                return None
    except FileNotFoundError:  # taken away in this moment
        return None
    return Ending(run, key_of("ending", {"run": run, "phase": state.phase.value, "what": what}), ended)


def notice_of(storage: Storage, state: RunState, ending: Ending) -> Mapping[str, Any]:
    """What is told: JSON that chat services show by its `text`, with everything for programs beside it. Raises OSError.

    Scores are told where they are known: of members on validation from the manifest, on gold once it was scored.
    """
    plan, failed = state.plan, state.failed
    manifest = manifest_of(storage, plan) if state.phase is Phase.COMPLETE else None
    return {
        "schema": 1,
        "id": ending.id,
        "event": f"run.{state.phase.value}",
        "text": _text(state),
        "run": plan.run,
        "name": plan.name,
        "phase": state.phase.value,
        "ended": ending.ended,
        "scores": _scores(storage, state, manifest) if manifest else None,
        "submission": storage.store.place(storage.home.submission(plan.run, plan.submission)) if manifest else None,
        "failed": [_failure(unit) for unit in failed[:MOST_FAILURES]],
        "failures": len(failed),
    }


def _scores(storage: Storage, state: RunState, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracies of vote and members: on validation (the vote's cross-fitted where it was fitted), and on gold."""
    estimate = manifest.get("validation") or {}
    validated = estimate.get("cross_fitted") or estimate.get("naive")
    members = {member["name"]: member["validation"] for member in manifest.get("members", ())}
    gold = remembered_score(storage, state.plan)
    scored = {name: score.accuracy for name, score in gold.members.items()} if gold else {}
    return {
        "validation": {"vote": validated["accuracy"] if validated else None, "members": members},
        "gold": {"vote": gold.submission.accuracy, "members": scored} if gold else None,
    }


def _failure(unit: UnitStatus) -> dict[str, Any]:
    last = unit.last
    return {
        "name": unit.name,
        "key": unit.key,
        "attempts": unit.attempts,
        "error_class": last.error_class.value if last is not None and last.error_class else None,
        "error": last.error if last is not None else None,
        "log": last.log if last is not None else None,
    }


def _text(state: RunState) -> str:
    run, failed = state.plan.run, state.failed
    if state.phase is Phase.COMPLETE:
        return f"Nonet: run {run} is complete, its submission is written"
    if state.phase is Phase.CANCELLED:
        return f"Nonet: run {run} was cancelled"
    first = _failure(failed[0]) if failed else {"name": "?", "error": "?"}
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"Nonet: run {run} is blocked. {first['name']}: {first['error']}{more}. `nonet status {run}` shows all"
