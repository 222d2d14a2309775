"""What changed from one plan to another, by the keys of the batch file that people know. Pure; prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nonet.runs.logbook import drawn_text
from nonet.runs.plan import Plan, PlannedAdapter, PlannedBase


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is otherwise in the second plan: its `place` as in a batch file, and both values (None: not
    there), as JSON has them.
    """

    place: str
    first: Any
    second: Any


def matched(first: Plan, second: Plan) -> tuple[tuple[PlannedAdapter, PlannedAdapter], ...]:
    """The members that both plans have: those with one key, whatever they are called, then those with one name."""
    by_key = {adapter.key: adapter for adapter in second.adapters}
    pairs = {a.name: by_key[a.key] for a in first.adapters if a.key in by_key}
    taken = {adapter.name for adapter in pairs.values()}
    by_name = {adapter.name: adapter for adapter in second.adapters if adapter.name not in taken}
    found = ((a, pairs.get(a.name) or by_name.get(a.name)) for a in first.adapters)
    return tuple((here, there) for here, there in found if there is not None)


def plan_changes(first: Plan, second: Plan) -> Iterator[Change]:
    """Every change from `first` to `second`: bases and settings, prompt, vote, questions, then mix by mix."""
    bases = {base.name: base for base in second.bases}
    for base in first.bases:
        other = bases.pop(base.name, None) or (second.bases[0] if len(first.bases) == len(second.bases) == 1 else None)
        if other is None:
            yield Change(f"bases.{base.name}", base.model.model, None)
        else:
            yield from _base_changes(base, other)
    if not len(first.bases) == len(second.bases) == 1:
        yield from (Change(f"bases.{name}", None, base.model.model) for name, base in bases.items())
    yield from _fields("prompt", first.prompt, second.prompt)
    yield from _fields("vote", first.vote, second.vote)
    for name, place in (("test", "inference.test"), ("gold", "validation")):
        yield from _differing(place, first.inputs[name][:12], second.inputs[name][:12])
    yield from _differing("submission", first.submission, second.submission)
    yield from _mix_changes(first, second)


def reasons(first: Plan, here: PlannedAdapter, second: Plan, there: PlannedAdapter) -> tuple[str, ...]:
    """Places of the changes between two plans that make a member of both another one, or its ballots others."""
    one, other = first.base_of(here), second.base_of(there)
    found = [change.place for change in _base_changes(one, other)]
    found += [change.place for change in _fields("prompt", first.prompt, second.prompt)]
    found += [f"mixes.{here.mix}"] if here.input != there.input else []
    found += ["inference.test"] if first.inputs["test"] != second.inputs["test"] else []
    quiet = ("training.checkpoint_every", "training.trainer", "inference.shard_size")
    return tuple(place for place in found if not place.endswith((*quiet, ".stack")))


def _base_changes(first: PlannedBase, second: PlannedBase) -> Iterator[Change]:
    prefix = f"bases.{first.name}." if first.name else ""
    if first.model.digest != second.model.digest:
        values = (f"{base.model.model} ({base.model.digest[:12]})" for base in (first, second))
        yield Change(f"bases.{first.name}" if first.name else "base", *values)
    yield from _differing(f"{prefix}dtype" if prefix else "base.dtype", first.dtype, second.dtype)
    yield from _fields(f"{prefix}training", first.recipe, second.recipe)
    yield from _differing(f"{prefix}training.trainer", first.trainer, second.trainer)
    yield from _differing(f"{prefix}training.stack", first.stacks.train, second.stacks.train)
    yield from _differing(f"{prefix}inference.engine", first.engine, second.engine)
    yield from _fields(f"{prefix}inference", first.inference, second.inference)
    yield from _differing(f"{prefix}inference.stack", first.stacks.infer, second.stacks.infer)


def _mix_changes(first: Plan, second: Plan) -> Iterator[Change]:
    pairs = matched(first, second)
    both = {here.name for here, _ in pairs}, {there.name for _, there in pairs}
    told = set()
    for here, there in pairs:
        if here.name != there.name:
            yield Change(f"mixes.{here.name}", here.name, there.name)
        if here.input != there.input and here.mix not in told:
            told.add(here.mix)
            yield Change(f"mixes.{here.mix}", _drawn(here), _drawn(there))
    yield from (Change(f"mixes.{a.name}", _drawn(a), None) for a in first.adapters if a.name not in both[0])
    yield from (Change(f"mixes.{a.name}", None, _drawn(a)) for a in second.adapters if a.name not in both[1])


def _drawn(adapter: PlannedAdapter) -> str:
    """What a mix draws, in words."""
    sample = "" if adapter.sample is None else f", sample {adapter.sample:g} by seed {adapter.seed}"
    if adapter.imported is not None:
        return f"{drawn_text(adapter)} ({adapter.key[:8]})"
    return f"{drawn_text(adapter)}: {adapter.questions} questions{sample} ({adapter.input[:8]})"


def _fields(place: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Change]:
    for name in dict.fromkeys((*first, *second)):
        yield from _differing(f"{place}.{name}", first.get(name), second.get(name))


def _differing(place: str, first: Any, second: Any) -> Iterator[Change]:
    if first != second:
        yield Change(place, first, second)
