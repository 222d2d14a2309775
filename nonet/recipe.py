"""The recipe: hyper-parameters of a training.

Knows their defaults (those of the work that Nonet generalises) and how many steps they make. Trains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Recipe:
    """LoRA `rank`, `alpha`, `dropout` on the modules `targets`; `max_length` of a prompt with its letter,
    in tokens; `learning_rate` decays linearly to 0; `batch_size` in questions; `checkpoint_every` in steps
    (changes no result).
    """

    rank: int = 8
    alpha: int = 32
    dropout: float = 0.0
    max_length: int = 512
    learning_rate: float = 1e-4
    epochs: int = 2
    batch_size: int = 1
    targets: tuple[str, ...] = TARGETS
    seed: int = 0
    checkpoint_every: int = 50

    def steps(self, questions: int) -> int:
        """Optimizer steps of a training on so many questions."""
        return math.ceil(questions / self.batch_size) * self.epochs

    def to_json(self) -> dict[str, Any]:
        """The recipe as a JSON object; targets as a list."""
        return {**asdict(self), "targets": list(self.targets)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Recipe:
        """The inverse of `to_json`. Raises ValueError for a missing, unknown or wrongly typed field."""
        names = {field.name for field in fields(cls)}
        if set(row) != names:
            missing, unknown = sorted(names - set(row)), sorted(set(row) - names)
            raise ValueError(f"not a recipe: missing {missing}, unknown {unknown}")
        floats = {"dropout", "learning_rate"}
        for name in names - floats - {"targets"}:
            if type(row[name]) is not int:
                raise ValueError(f"a recipe's {name} is a whole number, not {row[name]!r}")
        for name in floats:
            if type(row[name]) not in (int, float):
                raise ValueError(f"a recipe's {name} is a number, not {row[name]!r}")
        targets = row["targets"]
        if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
            raise ValueError(f"a recipe's targets are a list of module names, not {targets!r}")
        values = {**row, "targets": tuple(targets), **{name: float(row[name]) for name in floats}}
        return cls(**values)
