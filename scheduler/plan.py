"""Planning: from a validated batch to the plan of its run. Pure: knows keys and inputs, writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from config.batch import Batch, MixDraw
from nonet.key import canonical, digest, key_of
from nonet.mix import content_bytes, examples_bytes
from nonet.plan import GOLD, BaseModel, Plan, PlannedAdapter, QuestionSet, Shard, named
from nonet.problem import Problem
from nonet.rows import dumps, problem_row

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
            _adapter(name, mix, digest(examples[name]), base, recipe, prompt, batch.recipe.steps(len(mix.examples)))
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
    name: str,
    mix: MixDraw,
    examples: str,
    base: BaseModel,
    recipe: Mapping[str, Any],
    prompt: Mapping[str, Any],
    steps: int,
) -> PlannedAdapter:
    inputs = {
        "base": base.digest,
        "examples": digest(content_bytes(mix.examples)),
        "recipe": {k: v for k, v in recipe.items() if k not in NOT_IN_KEYS},
        "prompt": prompt,
    }
    rows = len({e.question_id.rsplit("#", 1)[0] + "@" + e.source for e in mix.examples})
    sources = tuple(dict.fromkeys(e.source for e in mix.examples))
    return PlannedAdapter(
        name, key_of("adapter", inputs), examples, sources, rows, len(mix.examples), steps, len(mix.leaked)
    )


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
