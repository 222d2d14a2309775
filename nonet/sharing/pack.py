"""A run as a pack for others: which files, and what is in them. Knows no archive; reads storage, writes nothing.

The same run, in the same state, gives the same files to the byte. Nothing in them names a machine, a path or a person.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nonet.engines.adapter_files import CONFIG, WEIGHTS
from nonet.questions.mix import Example, read_examples
from nonet.questions.rows import dumps
from nonet.report.facts import read_facts
from nonet.report.page import page
from nonet.runs.attempt import Attempts
from nonet.runs.plan import ADAPTERS, GOLD, Plan, PlannedAdapter, QuestionSet
from nonet.runs.result import submission_of
from nonet.runs.run_score import manifest_of, remembered_score
from nonet.sharing.card import card
from nonet.sharing.checked import stem_mark
from nonet.sharing.found import SUMS, TOLD
from nonet.sharing.public import public_facts, public_json, public_plan, public_text
from nonet.stores.key import digest
from nonet.stores.storage import Commit, Storage
from nonet.voting.aggregation import collect

LOSSES = "losses.json"


class NothingToPackError(ValueError):
    """A run that has no adapter yet."""


def pack_files(
    storage: Storage, attempts: Attempts, plan: Plan, *, data: bool = True, ballots: bool = True
) -> Iterator[tuple[str, bytes]]:
    """(path, content) of each file of the pack of the run of `plan`, the checksums last.

    Without `data` no row of test, validation or mixes, and no report, which shows some; without `ballots` no ballots.
    Raises NothingToPackError, nonet.stores.storage.DamagedError, OSError.
    """
    sums = []
    for name, content in _files(storage, attempts, plan, data=data, ballots=ballots):
        sums.append(f"{digest(content)}  {name}\n")
        yield name, content
    yield SUMS, "".join(sums).encode()


def _files(
    storage: Storage, attempts: Attempts, plan: Plan, *, data: bool, ballots: bool
) -> Iterator[tuple[str, bytes]]:
    commits = {adapter.name: storage.read(ADAPTERS, adapter.key) for adapter in plan.adapters}
    held = {name: commit for name, commit in commits.items() if commit is not None}
    if not held:
        raise NothingToPackError(f"{plan.run} has no adapter yet: `nonet status {plan.run}` says why")
    facts = public_facts(read_facts(storage, attempts, plan))
    yield "README.md", card(facts, held, data=data, ballots=ballots).encode()
    for adapter in plan.adapters:
        if adapter.name in held:
            yield from _adapter(storage, plan, adapter, held[adapter.name])
    yield "batch.yaml", public_text(_batch(storage, plan)).encode()
    yield "plan.json", public_plan(plan).to_json()
    yield from _result(storage, plan)
    if ballots:
        yield from _ballots(storage, plan)
    if data:
        yield "report.html", page(facts).encode()
        for name in (QuestionSet.TEST.value, GOLD):
            yield f"data/{'validation' if name == GOLD else name}.jsonl", storage.read_input(plan.inputs[name])
        mixes = {adapter.mix: adapter.input for adapter in plan.adapters if adapter.imported is None}
        yield from ((f"data/mixes/{mix}.jsonl", storage.read_input(name)) for mix, name in mixes.items())


def _adapter(storage: Storage, plan: Plan, adapter: PlannedAdapter, commit: Commit) -> Iterator[tuple[str, bytes]]:
    model = public_plan(plan).base_of(adapter).model
    config = json.loads(storage.path(commit.files[CONFIG]).read_bytes())
    on_hub = model.model if plan.base_of(adapter).model.model == model.model and model.model.count("/") == 1 else None
    folder = f"adapters/{adapter.name}"
    yield f"{folder}/{CONFIG}", _json({**config, "base_model_name_or_path": on_hub, "revision": model.revision})
    yield f"{folder}/{WEIGHTS}", storage.path(commit.files[WEIGHTS]).read_bytes()
    if LOSSES in commit.files:
        yield f"{folder}/{LOSSES}", storage.path(commit.files[LOSSES]).read_bytes()
    yield f"{folder}/{TOLD}", _json(_told(storage, plan, adapter, commit))


def _told(storage: Storage, plan: Plan, adapter: PlannedAdapter, commit: Commit) -> dict[str, Any]:
    """What an importer wants to know of an adapter: what it is, what it was trained over and on. An adapter that was
    imported itself keeps what was told of it."""
    if adapter.imported is not None:
        told: dict[str, Any] = public_json(commit.body["imported"]["told"])
        return told
    base = public_plan(plan).base_of(adapter)
    examples = read_examples(storage.input_path(adapter.input))
    return {
        "schema": 1,
        "name": adapter.name,
        "run": plan.run,
        "key": adapter.key,
        "base": base.model.told(),
        "recipe": dict(base.recipe),
        "prompt": dict(plan.prompt),
        "questions": adapter.questions,
        "sources": [{"name": use.source, "labels": use.labels, "rows": use.rows} for use in adapter.uses],
        "stems": _marks(examples),
    }


def _marks(examples: tuple[Example, ...]) -> list[str]:
    return sorted({stem_mark(stem) for stem in {example.stem for example in examples}})


def _batch(storage: Storage, plan: Plan) -> str:
    try:
        return storage.store.read(storage.home.batch_text(plan.run)).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _result(storage: Storage, plan: Plan) -> Iterator[tuple[str, bytes]]:
    submission, manifest = submission_of(storage, plan), manifest_of(storage, plan)
    if submission is not None and manifest is not None:
        yield plan.submission, submission
        yield f"{plan.submission}.manifest.json", _json(public_json(manifest))
    score = remembered_score(storage, plan)
    if score is not None:
        members = {name: found.to_json() for name, found in score.members.items()}
        yield "score.json", _json({"submission": score.submission.to_json(), "members": members})


def _ballots(storage: Storage, plan: Plan) -> Iterator[tuple[str, bytes]]:
    present = [cell for cell in plan.cells if storage.has(cell.scope, cell.key)]
    for questions in QuestionSet:
        for name, cast in collect(storage, present, questions).items():
            yield f"ballots/{name}.{questions.value}.jsonl", dumps(ballot.to_json() for ballot in cast.values())


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"
