"""Checks of what a run was planned from: its plan, inputs, bases and the keys that follow from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from nonet.bases.fingerprint import NoBaseError, base_digest
from nonet.questions.mix import read_examples
from nonet.runs.plan import Plan, QuestionSet
from nonet.runs.unit_keys import adapter_key, rows_digest
from nonet.stores.key import canonical, digest
from nonet.stores.storage import DamagedInputError, Storage
from nonet.verification.check import Check, Outcome
from nonet.voting.aggregation import problems_of

_AGAIN = "remove it and submit its batch again"


def check_plan(storage: Storage, plan: Plan) -> Iterator[Check]:
    """The run's id ends in a digest of its plan: whether it still does. Raises OSError."""
    place = storage.store.place(storage.home.plan(plan.run))
    content = json.loads(storage.store.read(storage.home.plan(plan.run)))
    content["run"] = ""
    for base in content["bases"]:
        base["model"] = base["model"]["digest"]
    name = f"{content['name']}-{digest(canonical(content))[:8]}"
    if name == plan.run:
        yield Check(Outcome.PASS, "plan", f"{place} is the one that the run is named by")
    else:
        yield Check(Outcome.FAIL, "plan", f"{place} is that of {name}, not of {plan.run}: it was changed", _AGAIN)


def check_inputs(storage: Storage, plan: Plan) -> Iterator[Check]:
    """Test, validation and every mix are what their names, SHA-256 of their content, say."""
    names = {**{name: name for name in plan.inputs}}
    wanted = {plan.inputs[name]: name for name in names} | {a.input: f"mix {a.mix}" for a in plan.adapters if a.input}
    failed = False
    for name, what in wanted.items():
        try:
            storage.input_path(name, stored=True)
        except DamagedInputError as error:
            failed = True
            text, _, remedy = str(error).partition("; ")
            yield Check(Outcome.FAIL, "inputs", f"{text} ({what})", remedy)
    if not failed:
        yield Check(Outcome.PASS, "inputs", f"{len(wanted)} files are what their names, SHA-256 of them, say")


def check_keys(storage: Storage, plan: Plan) -> Iterator[Check]:
    """Every adapter's key and every shard's digest made again from the inputs; shards cover each question once."""
    place = storage.store.place(storage.home.plan(plan.run))
    wrong = []
    for adapter in (a for a in plan.adapters if a.imported is None):
        examples = read_examples(storage.input_path(adapter.input))
        if adapter_key(plan.base_of(adapter), plan.prompt, examples) != adapter.key:
            wrong.append(f"the key of {adapter.name} does not follow from its base, mix, recipe and prompt")
    for questions in QuestionSet:
        problems = problems_of(storage, plan, questions.value) if any(plan.shards_of(questions)) else ()
        at = 0
        for shard in plan.shards_of(questions):
            if shard.start != at or rows_digest(problems[shard.start : shard.stop]) != shard.digest:
                wrong.append(f"shard {shard.name} does not hold rows {at} and on of its questions")
            at = shard.stop
        if at != len(problems):
            wrong.append(f"the shards end at row {at} of {len(problems)} of {questions.value}")
    for text in wrong:
        yield Check(Outcome.FAIL, "keys", f"{place}: {text}", _AGAIN)
    if not wrong:
        counts = f"{len(plan.adapters)} adapters and {len(plan.shards)} shards"
        yield Check(Outcome.PASS, "keys", f"those of {counts} follow from base, mix, recipe, prompt and rows")


def check_bases(plan: Plan) -> Iterator[Check]:
    """Every base that lies on this machine is the one that the run was planned with."""
    for base in plan.bases:
        name = f"base {base.name}" if base.name else "base"
        folder = Path(base.model.path)
        try:
            found = base_digest(folder) if folder.is_dir() else None
        except (NoBaseError, OSError):
            found = None
        if found is None:
            text = f"{base.model.model} is not on this machine, so its files were not compared"
            yield Check(Outcome.UNCHECKED, name, text, "verify on a machine that has it, if that matters")
        elif found == base.model.digest:
            yield Check(Outcome.PASS, name, f"{folder} has the digest {found[:12]} that the run was planned with")
        else:
            text = f"{folder} has the digest {found[:12]}, the run was planned with {base.model.digest[:12]}"
            yield Check(Outcome.FAIL, name, text, "bring back its files, or submit the batch again for this base")
