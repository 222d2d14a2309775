"""Rules about who answered a source's questions, and how sure the answers are.

Knows pseudo-labels and margins: where they may stand, and what a file must say for a batch to use them.
"""

from __future__ import annotations

from collections.abc import Sequence

from config.batch_yaml import Document, KeyPath
from nonet.questions.mix import Source
from nonet.questions.problem import Problem


def check_labels(document: Document, source: Source, problems: Sequence[Problem]) -> None:
    """Note a defect where the labels of a source are not what its rows say."""
    path: KeyPath = ("sources", source.name, "labels")
    if source.labels == "pseudo":
        silent = next((problem.id for problem in problems if problem.run is None), None)
        if silent is not None:
            remedy = "Write the file with `nonet pseudo RUN`, or write labels: model, or human."
            document.refuse(path, "pseudo", f"the row {silent!r} does not say which run's vote answered it", remedy)
        if document.text_at("validation", "source") == source.name:
            remedy = "Split a source with gold labels: a vote cannot be measured on what a vote has answered."
            document.refuse(("validation", "source"), repr(source.name), "its labels are pseudo-labels", remedy)
    elif source.labels == "gold":
        voted = next((problem for problem in problems if problem.run is not None), None)
        if voted is not None:
            message = f"the row {voted.id!r} was answered by the vote of run {voted.run}"
            document.refuse(path, "gold", message, "Write labels: pseudo (labels: human if somebody has checked them).")


def check_margin(document: Document, path: KeyPath, source: str, problems: Sequence[Problem]) -> None:
    """Note a defect where the use at `path` of a mix filters by margin what has none."""
    min_margin = document.mapping_at(*path).get("min_margin")
    if min_margin is None:
        return
    without = next((question.id for p in problems for question in p.questions if question.margin is None), None)
    if without is not None:
        message = f"{source!r} has no margins to filter by: the question {without} has none"
        remedy = 'Remove min_margin, or give every question of the file a "margin" from 0 to 1, as `nonet pseudo` does.'
        document.refuse((*path, "min_margin"), str(min_margin), message, remedy)
