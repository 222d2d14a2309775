"""The plan of a run: every unit of work that is expected, with its key. Knows keys and names; not what is done yet.

Written once at submit. *Missing = expected - committed* is all that a scheduler needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import groupby
from typing import Any

from nonet.questions.mix import Labels
from nonet.stores.key import SCHEMA, canonical, digest, key_of, keys_of

ADAPTERS = "adapters"
"""Storage scope of adapters."""
GOLD = "gold"
"""Name, in `Plan.inputs`, of the validation rows with their answers."""
PEFT, JOINT = "peft", "joint"
"""Trainers: one adapter after the other, or all of a message at once."""
VOTES = "votes"
"""Storage scope of votes."""


class OtherSchemaError(ValueError):
    """A plan of another version of Nonet: the same inputs give another result there, so the two must never mix."""


class QuestionSet(StrEnum):
    """Which questions a shard holds."""

    TEST = "test"
    VALIDATION = "validation"


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A frozen base: as named in the batch file, where it lies, and the SHA-256 that identifies its files."""

    model: str
    revision: str | None
    path: str
    digest: str

    def told(self) -> dict[str, Any]:
        """What results say of it: no path."""
        return {"model": self.model, "revision": self.revision, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class Stacks:
    """The stacks that train and that answer, where the batch names them (None: those that a worker is set to).

    They are in no key: an adapter is the same whichever stack made it (docs/reliability.md says how far).
    """

    train: str | None = None
    infer: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedBase:
    """One base of a run, and how adapters are trained over it and asked; `name` is "" where the batch has no name.

    The `trainer`, like stacks, is in no key: an adapter is the same whichever made it (docs/reliability.md).
    """

    name: str
    model: BaseModel
    engine: str
    recipe: Mapping[str, Any]
    inference: Mapping[str, Any]
    stacks: Stacks = field(default_factory=Stacks)
    dtype: str | None = None
    trainer: str = PEFT


@dataclass(frozen=True, slots=True)
class PlannedUse:
    """What a mix draws from one source, for people: who answered it (`labels`; `runs` whose votes did, if any),
    `rows` and `questions` drawn, `leaked` rows among them whose stems are the test's, and the margin asked for.
    """

    source: str
    labels: Labels
    rows: int
    questions: int
    leaked: int = 0
    min_margin: float | None = None
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Import:
    """Of an adapter that was trained elsewhere: where it comes from, for people (`origin`), and the `rank` of LoRA."""

    origin: str
    rank: int


@dataclass(frozen=True, slots=True)
class PlannedAdapter:
    """One adapter: `name` is the mix's (`mix@base` where there are several bases); `input` the digest of its examples
    ("" where it is `imported`); `base` the name of its base; the rest is for people: `sample` (None: all) of the
    questions that the mix uses, drawn by `seed`, and what they come to.
    """

    name: str
    key: str
    input: str
    uses: tuple[PlannedUse, ...]
    questions: int
    steps: int
    leaked: int
    sample: float | None = None
    seed: int = 0
    base: str = ""
    imported: Import | None = None

    @property
    def mix(self) -> str:
        """The name of its mix."""
        return self.name.partition("@")[0]

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that questions were drawn from."""
        return tuple(use.source for use in self.uses)

    @property
    def learnt_from(self) -> tuple[str, ...]:
        """What it was trained on, for people: its sources, or where it was imported from."""
        return self.sources if self.imported is None else (f"imported: {self.imported.origin}",)

    @property
    def rows(self) -> int:
        return sum(use.rows for use in self.uses)


@dataclass(frozen=True, slots=True)
class Shard:
    """Problems `start` to `stop` (exclusive) of a question set; `digest` is that of their rows."""

    name: str
    set: QuestionSet
    start: int
    stop: int
    questions: int
    digest: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One member's ballots on one shard; the cells of one adapter lie together, in the storage scope `scope`."""

    adapter: PlannedAdapter
    shard: Shard
    key: str
    scope: str

    @property
    def name(self) -> str:
        return f"{self.adapter.name}/{self.shard.name}"


@dataclass(frozen=True)
class Plan:
    """What a run is expected to make. `inputs` maps a question set (and `gold`) to the digest of its rows; `schema` is
    the version of the code that made the keys."""

    run: str
    name: str
    bases: tuple[PlannedBase, ...]
    prompt: Mapping[str, Any]
    vote: Mapping[str, Any]
    inputs: Mapping[str, str]
    adapters: tuple[PlannedAdapter, ...]
    shards: tuple[Shard, ...]
    submission: str
    schema: int = SCHEMA

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every (adapter, shard), shard by shard."""
        columns = [self.cell_keys(adapter, self.shards) for adapter in self.adapters]
        members = [(adapter, ballots_scope(adapter.key)) for adapter in self.adapters]
        return tuple(
            [
                Cell(adapter, shard, key, scope)
                for shard, *keys in zip(self.shards, *columns, strict=True)
                for (adapter, scope), key in zip(members, keys, strict=True)
            ]
        )

    def cell_key(self, adapter: PlannedAdapter, shard: Shard) -> str:
        (key,) = self.cell_keys(adapter, [shard])
        return key

    def cell_keys(self, adapter: PlannedAdapter, shards: Iterable[Shard]) -> list[str]:
        """The key of the cell of `adapter` and each of `shards`."""
        base = self.base_of(adapter)
        inputs = {
            "adapter": adapter.key,
            "prompt": self.prompt,
            "engine": base.engine,
            "inference": {k: v for k, v in base.inference.items() if _in_cell_keys(k, v)},
            "max_length": base.recipe["max_length"],
        }
        if adapter.imported is not None:  # its key says nothing of the base that it is worn by
            inputs["base"] = base.model.digest
            inputs["dtype"] = base.dtype
        keys: list[str] = []
        for questions, group in groupby(shards, key=lambda shard: shard.set):
            stops = self.stop_when_decided and questions is QuestionSet.TEST
            with_rule = inputs | ({"decided_by": self._decided_by} if stops else {})
            keys += keys_of("ballots", with_rule, "shard", [shard.digest for shard in group])
        return keys

    @property
    def stop_when_decided(self) -> bool:
        """Whether members are not asked what is decided without them in the test (nonet.voting.decided)."""
        return any(base.inference.get("stop_when_decided") for base in self.bases)

    @cached_property
    def _decided_by(self) -> str:
        """Digest of what decides which questions a member is asked: the vote, its members, and what they are measured
        on. Ballots of one vote must not be taken for those of another.
        """
        adapters = [[adapter.key, self.base_of(adapter).model.digest] for adapter in self.adapters]
        return digest(canonical({"vote": self.vote, "adapters": adapters, "gold": self.inputs.get(GOLD)}))

    def base_of(self, adapter: PlannedAdapter) -> PlannedBase:
        """The base that `adapter` is trained over; raises KeyError."""
        for base in self.bases:
            if base.name == adapter.base:
                return base
        raise KeyError(f"run {self.run} has no base {adapter.base!r}")

    def adapters_of(self, base: PlannedBase) -> tuple[PlannedAdapter, ...]:
        return tuple(adapter for adapter in self.adapters if adapter.base == base.name)

    @cached_property
    def whole_vote_key(self) -> str:
        """Key of the vote over all cells with the batch's own settings."""
        return self.vote_key(self.vote, self.cells)

    def vote_key(self, vote: Mapping[str, Any], cells: Iterable[Cell]) -> str:
        """Key of the vote with settings `vote` over the ballots of `cells`, which are in the plan's order."""
        inputs = {"vote": dict(vote), "cells": [c.key for c in cells], "inputs": dict(self.inputs)}
        return key_of("vote", inputs)

    def adapter(self, key: str) -> PlannedAdapter:
        """The planned adapter with `key`; raises KeyError."""
        for adapter in self.adapters:
            if adapter.key == key:
                return adapter
        raise KeyError(f"run {self.run} has no adapter with key {key[:12]}")

    def shard(self, name: str) -> Shard:
        """The shard called `name`; raises KeyError."""
        for shard in self.shards:
            if shard.name == name:
                return shard
        raise KeyError(f"run {self.run} has no shard {name!r}")

    def shards_of(self, questions: QuestionSet) -> Iterator[Shard]:
        return (s for s in self.shards if s.set is questions)

    @property
    def ranks(self) -> Mapping[str, int]:
        """The highest rank of LoRA among the adapters of each base, by its name."""
        ranks = {base.name: [base.recipe["rank"]] for base in self.bases}
        for adapter in self.adapters:
            if adapter.imported is not None:
                ranks[adapter.base].append(adapter.imported.rank)
        return {name: max(found) for name, found in ranks.items()}

    def to_json(self) -> bytes:
        return json.dumps(_record(self), ensure_ascii=False, indent=1).encode() + b"\n"


def _in_cell_keys(setting: str, value: Any) -> bool:
    """Whether a setting of the inference changes ballots. One option order is left out, as before there were more."""
    return setting not in ("shard_size", "stop_when_decided") and (setting, value) != ("permutations", 1)


def ballots_scope(adapter_key: str) -> str:
    """Storage scope of the ballots of one adapter."""
    return f"ballots-{adapter_key}"


def told_bases(plan: Plan) -> dict[str, Any]:
    """What results say of a run's bases: `base`, or `bases` by name where the batch names them."""
    if [base.name for base in plan.bases] == [""]:
        return {"base": plan.bases[0].model.told()}
    return {"bases": {base.name: base.model.told() for base in plan.bases}}


def adapter_name(mix: str, base: str, bases: int) -> str:
    """The name of the adapter of `mix` over `base`, one of so many `bases`.

    "@" is in no name of a mix or a base, so no two adapters can share a name, and it is safe in a file's name.
    """
    return mix if bases == 1 else f"{mix}@{base}"


def _record(plan: Plan) -> dict[str, Any]:
    """The plan as JSON has it. A trainer is left out where it is peft, and imported where an adapter is not, as before
    there was anything else: the same batch is the same run."""
    record = asdict(plan)
    for adapter in record["adapters"]:
        if adapter["imported"] is None:
            del adapter["imported"]
    for base in record["bases"]:
        if base["trainer"] == PEFT:
            del base["trainer"]
    return record


def named(plan: Plan) -> Plan:
    """`plan` with its run id: the batch's name and a digest of all that it will make, so that resubmitting the same
    batch is the same run. Stacks and trainer are in it: with another, what is not made yet is to be made by that."""
    content = _record(replace(plan, run=""))
    for base in content["bases"]:
        base["model"] = base["model"]["digest"]
    return replace(plan, run=f"{plan.name}-{digest(canonical(content))[:8]}")


def plan_from_json(data: bytes) -> Plan:
    """The plan written by `Plan.to_json`; raises OtherSchemaError for that of another version of Nonet, ValueError,
    KeyError or TypeError on anything else."""
    raw = json.loads(data)
    if raw["schema"] != SCHEMA:
        raise OtherSchemaError(
            f"it was planned with schema {raw['schema']!r}, this Nonet has schema {SCHEMA}; "
            "use the Nonet that planned it, or submit the batch again with this one"
        )
    raw["bases"] = tuple(map(_base, raw["bases"]))
    raw["adapters"] = tuple(map(_adapter, raw["adapters"]))
    raw["shards"] = tuple(Shard(**{**s, "set": QuestionSet(s["set"])}) for s in raw["shards"])
    return Plan(**raw)


def _base(raw: Mapping[str, Any]) -> PlannedBase:
    return PlannedBase(**{**raw, "model": BaseModel(**raw["model"]), "stacks": Stacks(**raw["stacks"])})


def _adapter(raw: Mapping[str, Any]) -> PlannedAdapter:
    imported = Import(**raw["imported"]) if raw.get("imported") else None
    return PlannedAdapter(**{**raw, "uses": tuple(map(_use, raw["uses"])), "imported": imported})


def _use(raw: Mapping[str, Any]) -> PlannedUse:
    return PlannedUse(**{**raw, "runs": tuple(raw["runs"])})
