"""Planning: from a validated batch to the plan of its run. Pure: knows keys and inputs, writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from config.batch import Base, Batch, MixDraw
from nonet.adapters.recipe import Recipe
from nonet.questions.defect import Defect, DefectsError
from nonet.questions.mix import examples_bytes
from nonet.questions.problem import Problem
from nonet.questions.rows import dumps, problem_row
from nonet.questions.split import normal_stem
from nonet.runs.plan import (
    GOLD,
    BaseModel,
    Plan,
    PlannedAdapter,
    PlannedBase,
    PlannedUse,
    QuestionSet,
    Shard,
    Stacks,
    adapter_name,
    named,
)
from nonet.runs.unit_keys import adapter_key, questions_bytes, rows_digest
from nonet.sharing.checked import CheckedAdapter
from nonet.stores.key import canonical, digest
from scheduler.imports import Imported, refuse_trained_twins
from scheduler.shards import auto_tokens, by_number, by_tokens

ELSEWHERE = ("engine", "stack")
"""Settings of the inference that the plan holds elsewhere."""
LEFT_OUT = (("stop_when_decided", False), ("samples", 1), ("temperature", 0.0), ("token_budget", None))
"""Settings of the inference that a plan leaves out, as it did before there were any."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan, the input files that it names, by digest, and the adapters that it imports."""

    plan: Plan
    inputs: Mapping[str, bytes]
    imports: tuple[CheckedAdapter, ...] = ()


Tokens = Callable[[Problem], int]
"""Tokens of all prompts of a problem."""


def draft(
    batch: Batch,
    models: Sequence[BaseModel],
    engine: str,
    tokens: Tokens | None = None,
    imports: Sequence[Imported] = (),
) -> Draft:
    """The plan of `batch` over its bases, identified as `models`; `engine` is what `engine: auto` stands for, `tokens`
    what `shard_size: auto` goes by (needed there only).

    Every mix is trained over every base; `imports` are the batch's (scheduler.imports). Raises DefectsError where one
    adapter would vote twice.
    """
    prompt = _json(asdict(batch.prompt))
    rows = {
        QuestionSet.TEST.value: questions_bytes(batch.test),
        QuestionSet.VALIDATION.value: questions_bytes(batch.validation),
        GOLD: dumps(problem_row(p) for p in batch.validation),
    }
    examples = {name: examples_bytes(mix.examples) for name, mix in batch.mixes.items()}
    bases = tuple(_base(base, model, engine) for base, model in zip(batch.bases, models, strict=True))
    size = batch.bases[0].inference.shard_size
    plan = Plan(
        run="",
        name=batch.name,
        bases=bases,
        prompt=prompt,
        vote=_json(asdict(batch.vote)),
        inputs={name: digest(data) for name, data in rows.items()},
        adapters=(
            *(
                _adapter(mix, _uses(batch, mix), digest(examples[name]), base, prompt, len(bases))
                for base in bases
                for name, mix in batch.mixes.items()
            ),
            *(imported.planned for imported in imports),
        ),
        shards=(
            *_shards(QuestionSet.VALIDATION, batch.validation, size, tokens),
            *_shards(QuestionSet.TEST, batch.test, size, tokens),
        ),
        submission=batch.submission,
    )
    _refuse_twins(batch, plan)
    refuse_trained_twins(plan, imports)
    inputs = {digest(data): data for data in (*rows.values(), *examples.values())}
    return Draft(named(plan), inputs, tuple(imported.adapter for imported in imports))


def _base(base: Base, model: BaseModel, engine: str) -> PlannedBase:
    return PlannedBase(
        name=base.name,
        model=model,
        engine=engine if base.inference.engine == "auto" else base.inference.engine,
        recipe=_json(base.recipe.to_json()),
        inference=_json(
            {k: v for k, v in asdict(base.inference).items() if k not in ELSEWHERE and (k, v) not in LEFT_OUT}
        ),
        stacks=Stacks(base.train_stack, base.inference.stack),
        dtype=base.dtype,
        trainer=base.trainer,
    )


def _adapter(
    draw: MixDraw,
    uses: tuple[PlannedUse, ...],
    examples: str,
    base: PlannedBase,
    prompt: Mapping[str, Any],
    bases: int,
) -> PlannedAdapter:
    count = len(draw.examples)
    return PlannedAdapter(
        name=adapter_name(draw.mix.name, base.name, bases),
        key=adapter_key(base, prompt, draw.examples),
        input=examples,
        uses=uses,
        questions=count,
        steps=_steps(Recipe.from_json(base.recipe), draw),
        leaked=len(draw.leaked),
        sample=draw.mix.sample,
        seed=draw.mix.seed,
        base=base.name,
    )


def _steps(recipe: Recipe, draw: MixDraw) -> int:
    return recipe.steps(len({e.stem for e in draw.examples}) if recipe.grouped else len(draw.examples))


def _refuse_twins(batch: Batch, plan: Plan) -> None:
    """Raises DefectsError for a base whose adapters another one makes, too."""
    first: dict[str, str] = {}
    twins = {}
    for adapter in plan.adapters:
        other = first.setdefault(adapter.key, adapter.base)
        if other != adapter.base:
            twins[adapter.base] = other
    remedy = "Give it another model, or training settings that make other adapters; or remove it."
    defects = [
        Defect(str(batch.path), f"bases.{name}", repr(name), f"makes the same adapters as {other!r}", remedy)
        for name, other in twins.items()
    ]
    if defects:
        raise DefectsError(defects)


def _uses(batch: Batch, draw: MixDraw) -> tuple[PlannedUse, ...]:
    """What the examples of a mix were drawn from, source by source; sources of which none was drawn are left out."""
    leaked = {normal_stem(stem) for stem in draw.leaked}
    found = []
    for use in draw.mix.uses:
        examples = [e for e in draw.examples if e.source == use.source]
        stems = {e.question_id.rpartition("#")[0]: normal_stem(e.stem) for e in examples}
        runs = dict.fromkeys(p.run for p in batch.problems[use.source] if p.id in stems and p.run is not None)
        if examples:
            found.append(
                PlannedUse(
                    source=use.source,
                    labels=batch.sources[use.source].labels,
                    rows=len(stems),
                    questions=len(examples),
                    leaked=sum(stem in leaked for stem in stems.values()),
                    min_margin=use.min_margin,
                    runs=tuple(runs),
                )
            )
    return tuple(found)


def _shards(
    questions: QuestionSet, problems: Sequence[Problem], size: int | None, tokens: Tokens | None
) -> Iterator[Shard]:
    if size is not None:
        cuts = by_number(len(problems), size)
    elif tokens is not None:
        counts = [tokens(problem) for problem in problems]
        cuts = by_tokens(counts, auto_tokens(sum(counts)))
    else:
        raise ValueError("shard_size: auto goes by tokens, and nobody counts them")
    for index, (start, stop) in enumerate(cuts):
        part = problems[start:stop]
        yield Shard(
            name=f"{questions}-{index:03d}",
            set=questions,
            start=start,
            stop=stop,
            questions=sum(len(p.questions) for p in part),
            digest=rows_digest(part),
        )


def _json(value: Any) -> Any:
    """`value` as JSON would give it back: tuples become lists, enums their text."""
    return json.loads(canonical(value))
