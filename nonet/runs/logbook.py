"""The logbook: every run's adapters and votes as rows, by base, read from storage. Knows no file format.

A log that people keep by hand: what was trained on which mix, at what cost, and what it scored. It follows from
storage alone, and is made anew each time: nothing can be lost from it for good.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nonet.runs.plan import ADAPTERS, BaseModel, Plan, PlannedAdapter, PlannedUse, plan_from_json
from nonet.runs.run_score import RunScore, manifest_of, remembered_score
from nonet.stores.storage import Storage

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: an adapter as a run used it, or the vote of a run (`vote`).

    None in `validation`, `test` and `in_vote` is what nobody knows yet; elsewhere it is what does not apply. `minutes`
    are those of the training process that finished, `memory` its peak in GiB, `loss` the mean of its last 20 steps.
    """

    run: str
    mix: str
    sources: str
    rows: int | None = None
    questions: int | None = None
    leaked: int | None = None
    sample: float | None = None
    sample_seed: int | None = None
    seed: int | None = None
    steps: int | None = None
    loss: float | None = None
    minutes: float | None = None
    memory: float | None = None
    validation: float | None = None
    test: float | None = None
    in_vote: bool | None = None
    vote: bool = False


@dataclass(frozen=True, slots=True)
class Logbook:
    """Entries by base (model name, digest), the runs in the order of their last submit; `unread` says why a run is not
    among them.
    """

    sheets: Mapping[tuple[str, str], tuple[Entry, ...]]
    unread: Mapping[str, str]


def read_logbook(storage: Storage) -> Logbook:
    """The logbook of everything under the home; raises OSError."""
    sheets: dict[str, list[Entry]] = defaultdict(list)
    models: dict[str, str] = {}
    unread: dict[str, str] = {}
    for run in runs_of(storage):
        try:
            plan = plan_from_json(storage.store.read(storage.home.plan(run)))
            found = tuple(entries_of(storage, plan))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            unread[run] = f"{type(error).__name__}: {error}"
            continue
        for bases, entry in found:
            for base in bases:
                models.setdefault(base.digest, base.model)
                sheets[base.digest].append(entry)
    return Logbook({(models[key], key): tuple(entries) for key, entries in sheets.items()}, unread)


def runs_of(storage: Storage) -> tuple[str, ...]:
    """Ids of all runs, the latest submitted last; raises OSError."""
    home, store = storage.home, storage.store

    def submitted(run: str) -> tuple[float, str]:
        try:
            return store.modified(home.batch_text(run)), run  # every submit writes it again
        except FileNotFoundError:
            return store.modified(home.plan(run)), run

    return tuple(sorted((path.parent.name for path in storage.plans()), key=submitted))


def entries_of(storage: Storage, plan: Plan) -> Iterator[tuple[tuple[BaseModel, ...], Entry]]:
    """The rows of one run, each with its bases: its adapters that are trained, then its vote over all of them."""
    manifest = manifest_of(storage, plan)
    score = remembered_score(storage, plan)
    for adapter in plan.adapters:
        commit = storage.record(ADAPTERS, adapter.key)
        if commit is not None:
            entry = _adapter_entry(plan, adapter, commit.body.get("training", {}), manifest, score)
            yield (plan.base_of(adapter).model,), entry
    if manifest is not None:
        models = {base.model.digest: base.model for base in plan.bases}
        yield tuple(models.values()), _vote_entry(plan, manifest, score)


def _adapter_entry(
    plan: Plan,
    adapter: PlannedAdapter,
    training: Mapping[str, Any],
    manifest: Mapping[str, Any] | None,
    score: RunScore | None,
) -> Entry:
    seconds, memory = training.get("seconds"), training.get("peak_memory_bytes")
    validation = {m["name"]: m["validation"] for m in manifest["members"]} if manifest else {}
    voters = [voter["name"] for voter in manifest["vote"]["voters"]] if manifest else None
    tested = score.members.get(adapter.name) if score else None
    drawn = adapter.imported is None
    return Entry(
        run=plan.run,
        mix=adapter.name,
        sources=drawn_text(adapter),
        rows=adapter.rows if drawn else None,
        questions=adapter.questions if drawn else None,
        leaked=sum(use.leaked for use in adapter.uses) if drawn else None,
        sample=adapter.sample,
        sample_seed=adapter.seed if adapter.sample is not None else None,
        seed=plan.base_of(adapter).recipe["seed"] if drawn else None,
        steps=training.get("steps"),
        loss=training.get("final_loss"),
        minutes=None if seconds is None else seconds / 60,
        memory=None if memory is None else memory / GIB,
        validation=validation.get(adapter.name),
        test=tested.accuracy if tested else None,
        in_vote=None if voters is None else adapter.name in voters,
    )


def _vote_entry(plan: Plan, manifest: Mapping[str, Any], score: RunScore | None) -> Entry:
    """The vote; its validation is cross-fitted where something of it was fitted there."""
    estimate = manifest["validation"]
    validated = estimate["cross_fitted"] or estimate["naive"]
    voters = manifest["vote"]["voters"]
    return Entry(
        run=plan.run,
        mix=f"vote: {manifest['vote']['settings']['method']}",
        sources=f"{len(voters)} of {len(manifest['members'])} members",
        validation=validated["accuracy"] if validated else None,
        test=score.submission.accuracy if score else None,
        vote=True,
    )


def drawn_text(adapter: PlannedAdapter) -> str:
    """What an adapter was trained on, as people write it: its sources, or where it was imported from."""
    return " + ".join([use_text(use) for use in adapter.uses] or adapter.learnt_from)


def use_text(use: PlannedUse) -> str:
    """A source in a mix, as people write it: "pseudo 158 (pseudo of round-1-2c1f0c2a, margin 0.5)"."""
    runs = f" of {', '.join(use.runs)}" if use.runs else ""
    margin = "" if use.min_margin is None else f", margin {use.min_margin:g}"
    return f"{use.source} {use.rows} ({use.labels}{runs}{margin})"
