"""Planning imported adapters: whether each fits its base, and what it is in a plan. Reads headers of bases, writes
nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from config.batch import Batch
from config.batch_adapters import ImportSpec
from nonet.bases.base import base_shapes
from nonet.questions.defect import Defect, DefectsError, shown
from nonet.runs.plan import BaseModel, Import, Plan, PlannedAdapter, adapter_name
from nonet.sharing.checked import CheckedAdapter, leaked_rows, misfit_of
from nonet.sharing.found import NotAnAdapterError

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Imported:
    """An adapter of a batch that was trained elsewhere: where the batch names it, its content, its place in a plan."""

    spec: ImportSpec
    adapter: CheckedAdapter
    planned: PlannedAdapter


def planned_imports(
    batch: Batch, models: Sequence[BaseModel], find: Callable[[str], CheckedAdapter]
) -> tuple[Imported, ...]:
    """The imports of `batch` over its bases, identified as `models`; `find` looks up one that is named by its key.

    Raises DefectsError with everything that keeps them from voting.
    """
    by_base = {base.name: model for base, model in zip(batch.bases, models, strict=True)}
    found: list[Imported] = []
    defects: list[Defect] = []
    for spec in batch.imports:
        try:
            adapter = spec.adapter or find(spec.key)
        except NotAnAdapterError as error:
            defects.append(spec.defect(str(error), "Give the key of one that was imported into this home, or a path."))
            continue
        spec = replace(spec, adapter=adapter)
        defects += _defects(spec, adapter, by_base[spec.base], batch)
        name = adapter_name(spec.name, spec.base, len(batch.bases))
        told = Import(adapter.origin, adapter.rank)
        leaked = len(leaked_rows(adapter, batch.test))
        planned = PlannedAdapter(name, adapter.key, "", (), 0, 0, leaked, base=spec.base, imported=told)
        twins = [other.spec.name for other in found if other.adapter.key == adapter.key]
        if twins:
            defects.append(spec.defect(f"it is the same adapter as {twins[0]!r}: it would vote twice", "Remove one."))
        found.append(Imported(spec, adapter, planned))
    if defects:
        raise DefectsError(defects)
    return tuple(found)


def _defects(spec: ImportSpec, adapter: CheckedAdapter, model: BaseModel, batch: Batch) -> list[Defect]:
    defects = []
    if adapter.base_digest not in (None, model.digest) and not spec.allow_other_base:
        trained = shown(adapter.told["base"].get("model", "another base"))
        message = (
            f"it was trained over {trained} ({adapter.base_digest:.12}), not over {model.model} ({model.digest:.12})"
        )
        defects.append(spec.defect(message, "Give its base, or write allow_other_base: true to wear it over this one."))
    else:
        misfit = misfit_of(adapter, base_shapes(model.path))
        if misfit is not None:
            defects.append(spec.defect(f"it does not fit the base {model.model}: {misfit}", "Give the base it is for."))
    leaked = leaked_rows(adapter, batch.test)
    if leaked and not spec.allow_leak:
        rows = ", ".join(leaked[:_SHOWN]) + (", …" if len(leaked) > _SHOWN else "")
        message = f"it was trained on {len(leaked)} stems of the test ({rows})"
        defects.append(spec.defect(message, "Leave it out, or write allow_leak: true to let it vote knowingly."))
    return defects


def refuse_trained_twins(plan: Plan, imports: Sequence[Imported]) -> None:
    """Raise DefectsError for an import that is, by what its pack says, an adapter that the plan trains itself."""
    trained = {adapter.key: adapter.name for adapter in plan.adapters if adapter.imported is None}
    twins = [(found.spec, trained.get(str(found.adapter.told.get("key")))) for found in imports]
    defects = [
        spec.defect(f"it is the adapter of the mix {name!r}, which would vote twice", "Remove one of them.")
        for spec, name in twins
        if name is not None
    ]
    if defects:
        raise DefectsError(defects)
