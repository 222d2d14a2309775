"""Planning: from a validated batch to the plan of its run. Pure: knows keys and inputs, writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from config.batch import Batch, MixDraw
from nonet.key import canonical, digest, key_of
from nonet.mix import content_bytes, examples_bytes
from nonet.plan import GOLD, BaseModel, Plan, PlannedAdapter, PlannedUse, QuestionSet, Shard, named
from nonet.problem import Problem
from nonet.recipe import Recipe
from nonet.rows import dumps, problem_row
from nonet.split import normal_stem

NOT_IN_KEYS = ("checkpoint_every",)
"""Settings of a recipe that do not change the adapter."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan and the input files that it names, by digest."""

    plan: Plan
    inputs: Mapping[str, bytes]


def draft(batch: Batch, base: BaseModel, engine: str) -> Draft:
    """The plan of `batch` over `base`; `engine` is what `engine: auto` stands for."""
    recipe, prompt = _json(asdict(batch.recipe)), _json(asdict(batch.prompt))
    rows = {
        QuestionSet.TEST.value: _questions(batch.test),
        QuestionSet.VALIDATION.value: _questions(batch.validation),
        GOLD: dumps(problem_row(p) for p in batch.validation),
    }
    examples = {name: examples_bytes(mix.examples) for name, mix in batch.mixes.items()}
    plan = Plan(
        run="",
        name=batch.name,
        base=base,
        engine=engine if batch.inference.engine == "auto" else batch.inference.engine,
        prompt=prompt,
        recipe=recipe,
        inference=_json({k: v for k, v in asdict(batch.inference).items() if k != "engine"}),
        vote=_json(asdict(batch.vote)),
        inputs={name: digest(data) for name, data in rows.items()},
        adapters=tuple(
            _adapter(mix, _uses(batch, mix), digest(examples[name]), base, batch.recipe, prompt)
            for name, mix in batch.mixes.items()
        ),
        shards=(
            *_shards(QuestionSet.VALIDATION, batch.validation, batch.inference.shard_size),
            *_shards(QuestionSet.TEST, batch.test, batch.inference.shard_size),
        ),
        submission=batch.submission,
    )
    return Draft(named(plan), {digest(data): data for data in (*rows.values(), *examples.values())})


def _adapter(
    draw: MixDraw,
    uses: tuple[PlannedUse, ...],
    examples: str,
    base: BaseModel,
    recipe: Recipe,
    prompt: Mapping[str, Any],
) -> PlannedAdapter:
    inputs = {
        "base": base.digest,
        "examples": digest(content_bytes(draw.examples)),
        "recipe": {k: v for k, v in _json(asdict(recipe)).items() if k not in NOT_IN_KEYS},
        "prompt": prompt,
    }
    count = len(draw.examples)
    return PlannedAdapter(
        name=draw.mix.name,
        key=key_of("adapter", inputs),
        input=examples,
        uses=uses,
        questions=count,
        steps=recipe.steps(count),
        leaked=len(draw.leaked),
        sample=draw.mix.sample,
        seed=draw.mix.seed,
    )


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


def _shards(questions: QuestionSet, problems: Sequence[Problem], size: int) -> Iterator[Shard]:
    for index, start in enumerate(range(0, len(problems), size)):
        part = problems[start : start + size]
        yield Shard(
            name=f"{questions}-{index:03d}",
            set=questions,
            start=start,
            stop=start + len(part),
            questions=sum(len(p.questions) for p in part),
            digest=digest(_questions(part)),
        )


def _questions(problems: Sequence[Problem]) -> bytes:
    """Rows without their answers: an engine never sees one."""
    return dumps(problem_row(p, {}) for p in problems)


def _json(value: Any) -> Any:
    """`value` as JSON would give it back: tuples become lists, enums their text."""
    return json.loads(canonical(value))
