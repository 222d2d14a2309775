"""The model card of a pack: README.md with the metadata that model hubs read. Knows what stands where; reads nothing.

The metadata are those of the Hugging Face hub (huggingface_hub.ModelCardData), with the accuracies as its model index.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nonet
from nonet.report.facts import Facts
from nonet.runs.logbook import drawn_text
from nonet.runs.plan import BaseModel
from nonet.runs.results import Results
from nonet.stores.storage import Commit
from nonet.voting.score import Score

_TEMPLATE = "card.md.jinja"


def card(facts: Facts, adapters: Mapping[str, Commit], *, data: bool, ballots: bool) -> str:
    """The card of the run of `facts` with its committed `adapters`; `data` and `ballots` say what the pack holds."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, of names that were checked and figures
    )
    environment.filters |= {"drawn": drawn_text, "accuracy": _accuracy, "fenced": _fenced}
    results = facts.outcomes.results if facts.outcomes else None
    return environment.get_template(_TEMPLATE).render(
        metadata=_metadata(facts, results),
        facts=facts,
        plan=facts.plan,
        outcomes=facts.outcomes,
        results=results,
        members={member.name: member for member in results.members} if results else {},
        packed=[adapter for adapter in facts.plan.adapters if adapter.name in adapters],
        versions=_versions(facts),
        version=nonet.__version__,
        data=data,
        ballots=ballots,
    )


def _metadata(facts: Facts, results: Results | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    known = [base.model.model for base in facts.plan.bases if _on_hub(base.model)]
    more: dict[str, Any] = {"base_model_relation": "adapter"} if known else {}
    scores = {"validation": results.estimate.naive, "test": results.vote_test} if results else {}
    measured = [
        EvalResult(
            task_type="multiple-choice",
            task_name="the vote",
            dataset_type=facts.plan.name,
            dataset_name=f"{name} of {facts.plan.name}",
            dataset_split=name,
            metric_type="accuracy",
            metric_value=round(score.accuracy, 4),
        )
        for name, score in scores.items()
        if score is not None and score.accuracy is not None
    ]
    return ModelCardData(
        base_model=known or None,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "nonet", "ensemble", "multiple-choice"],
        model_name=facts.plan.run,
        eval_results=measured or None,
        **more,
    ).to_yaml()


def _on_hub(model: BaseModel) -> bool:
    return model.model.count("/") == 1 and not model.model.startswith((".", "/"))


def _accuracy(score: Score | None) -> str:
    """`0.7337 (0.689-0.774), 303 of 413`."""
    if score is None or score.accuracy is None or score.interval is None:
        return "not known"
    span = f"{score.interval.low:.3f}-{score.interval.high:.3f}"
    return f"{score.accuracy:.4f} ({span}), {score.correct} of {score.total}"


def _fenced(text: str) -> str:
    """Text as an indented block, whatever it holds."""
    return "\n".join(f"    {line}" for line in text.splitlines()) or "    (none)"


def _versions(facts: Facts) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for training in facts.trainings.values():
        for name, version in training.figures.get("versions", {}).items():
            found.setdefault(name, set()).add(str(version))
    return {name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}
