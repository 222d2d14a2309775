"""Checks of what a run has made: its adapters, and the ballots of each on each shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from nonet.engines.adapter_files import CONFIG, WEIGHTS
from nonet.questions.problem import Question, split_questions
from nonet.runs.plan import ADAPTERS, Plan, PlannedAdapter, QuestionSet
from nonet.runs.unit_keys import NOT_IN_KEYS
from nonet.sharing.commit import imported_key
from nonet.stores.storage import Commit, DamagedError, Storage
from nonet.verification.check import Check, Outcome
from nonet.voting.aggregation import problems_of
from nonet.voting.ballot import Ballot

_SHOWN = 5
_ANSWER = "set it aside with `nonet vote {run}`, and a fleet answers that shard again"
_TRAIN = "remove that record; a fleet trains the adapter again when a run needs it"
_REMOVE = "remove that record, and a fleet answers that shard again"
_GOING = "`nonet status {run}` says what is left to do"


def check_adapters(storage: Storage, plan: Plan) -> Iterator[Check]:
    """Every adapter's record and files have their checksums, and say that they are of this plan."""
    sound = 0
    for adapter in plan.adapters:
        try:
            commit = storage.examine(ADAPTERS, adapter.key, stored=True)
        except DamagedError as error:
            yield Check(Outcome.FAIL, "adapters", f"{adapter.name}: {error}", _TRAIN)
            continue
        if commit is None:
            remedy = _GOING.format(run=plan.run)
            yield Check(Outcome.MISSING, "adapters", f"{adapter.name} is not there yet, or not any more", remedy)
            continue
        wrong = _of_another(storage, plan, adapter, commit)
        if wrong:
            place = storage.store.place(storage.home.commits(ADAPTERS) / f"{adapter.key}.json")
            yield Check(Outcome.FAIL, "adapters", f"{adapter.name}: {place}: {wrong}", _TRAIN)
        sound += not wrong
    if sound == len(plan.adapters):
        yield Check(Outcome.PASS, "adapters", f"{sound} with their records and files as they were committed")


def _of_another(storage: Storage, plan: Plan, adapter: PlannedAdapter, commit: Commit) -> str:
    """How an adapter's record contradicts the plan, "" where it does not."""
    lacking = [name for name in (CONFIG, WEIGHTS) if name not in commit.files]
    if lacking:
        return f"it has no file {lacking[0]}"
    if adapter.imported is not None:
        return "" if imported_key(storage, commit) == adapter.key else "its key does not follow from its content"
    base = plan.base_of(adapter)
    told = commit.body.get("base")
    if isinstance(told, dict) and told.get("digest") != base.model.digest:
        return f"it was trained over the base {str(told.get('digest'))[:12]}, the plan says {base.model.digest[:12]}"
    recipe = commit.body.get("recipe")
    if isinstance(recipe, dict) and _in_keys(recipe) != _in_keys(dict(base.recipe)):
        return "it was trained by another recipe than the plan's"
    return ""


def _in_keys(recipe: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name not in NOT_IN_KEYS}


def check_ballots(storage: Storage, plan: Plan) -> Iterator[Check]:
    """Every member has a sound ballot on each question of each shard, none twice, in the order of the rows."""
    sets = [kind for kind in QuestionSet if any(plan.shards_of(kind))]
    rows = {kind: problems_of(storage, plan, kind.value) for kind in sets}
    sound, ballots, abstained = 0, 0, 0
    missing: list[str] = []
    for cell in plan.cells:
        asked = split_questions(rows[cell.shard.set][cell.shard.start : cell.shard.stop])
        place = storage.store.place(storage.home.commits(cell.scope) / f"{cell.key}.json")
        remedy = _ANSWER.format(run=plan.run)
        try:
            commit = storage.examine(cell.scope, cell.key)
        except DamagedError as error:
            yield Check(Outcome.FAIL, "ballots", f"{cell.name}: {error}", remedy)
            continue
        if commit is None:
            missing.append(cell.name)
            continue
        wrong, cast = _cast_on(asked, commit)
        if wrong:
            yield Check(Outcome.FAIL, "ballots", f"{cell.name}: {place}: {wrong}", _REMOVE)
        sound += not wrong
        ballots += len(cast)
        abstained += sum(ballot.letter is None and ballot.asked for ballot in cast)
    if missing:
        some = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
        text = f"{len(missing):,} of {len(plan.cells):,} cells are not answered yet: {some}"
        yield Check(Outcome.MISSING, "ballots", text, _GOING.format(run=plan.run))
    if sound == len(plan.cells):
        text = f"{sound:,} cells with {ballots:,} ballots, {abstained:,} of them abstentions: one for each question"
        yield Check(Outcome.PASS, "ballots", f"{text} and member, in the order of the rows")


def _cast_on(asked: Sequence[Question], commit: Commit) -> tuple[str, tuple[Ballot, ...]]:
    """What is wrong with the ballots of a cell ("": nothing), and the ballots."""
    try:
        cast = tuple(Ballot.from_json(row) for row in commit.body["ballots"])
    except (ValueError, KeyError, TypeError) as error:
        return str(error), ()
    ids = [ballot.question_id for ballot in cast]
    wanted = [question.id for question in asked]
    if ids == wanted:
        return _misfit(asked, cast), cast
    twice = [name for name, count in Counter(ids).items() if count > 1]
    for what, names in (
        ("answered twice", twice),
        ("not answered", [name for name in wanted if name not in ids]),
        ("not asked, but answered", [name for name in ids if name not in wanted]),
    ):
        if names:
            return f"{len(names)} {what}: {', '.join(names[:3])}", cast
    return "its ballots are not in the order of the rows", cast


def _misfit(asked: Sequence[Question], cast: Sequence[Ballot]) -> str:
    """Which ballot does not fit its question, "" where all do."""
    for ballot, question in zip(cast, asked, strict=True):
        if (ballot.letter or "A") not in question.letters or len(ballot.logprobs) not in (0, len(question.letters)):
            return f"the ballot on {question.id} does not fit its {len(question.letters)} options"
    return ""
