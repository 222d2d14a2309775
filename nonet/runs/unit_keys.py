"""What the keys of a plan's units are made from, so that they can be made again from its inputs. Knows no storage.

A cell's key and a vote's are made from these by `nonet.runs.plan.Plan`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nonet.questions.mix import Example, content_bytes
from nonet.questions.problem import Problem
from nonet.questions.rows import dumps, problem_row
from nonet.runs.plan import PlannedBase
from nonet.stores.key import digest, key_of

NOT_IN_KEYS = ("checkpoint_every",)
"""Settings of a recipe that do not change the adapter."""


def adapter_key(base: PlannedBase, prompt: Mapping[str, Any], examples: Iterable[Example]) -> str:
    """The key of the adapter that is trained on `examples` over `base`."""
    inputs: dict[str, Any] = {
        "base": base.model.digest,
        "examples": digest(content_bytes(examples)),
        "recipe": {k: v for k, v in base.recipe.items() if k not in NOT_IN_KEYS},
        "prompt": dict(prompt),
    }
    if base.dtype is not None:
        inputs["dtype"] = base.dtype
    return key_of("adapter", inputs)


def questions_bytes(problems: Iterable[Problem]) -> bytes:
    """Rows without their answers: an engine never sees one."""
    return dumps(problem_row(problem, {}) for problem in problems)


def rows_digest(problems: Iterable[Problem]) -> str:
    """The digest of a shard's rows."""
    return digest(questions_bytes(problems))
