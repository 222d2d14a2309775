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
    in tokens; `learning_rate` decays linearly to 0; `batch_size` in questions, or, where `grouped`, in stems with all
    their questions; `checkpoint_every` in steps (changes no result).
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
    grouped: bool = False

    def steps(self, units: int) -> int:
        """Optimizer steps of a training on so many questions, or stems where the recipe is grouped."""
        return math.ceil(units / self.batch_size) * self.epochs

    def to_json(self) -> dict[str, Any]:
        """The recipe as a JSON object; targets as a list. `grouped` is in it where it is true: recipes that are not
        are the same as before it was there, and so are the keys made of them.
        """
        row = {**asdict(self), "targets": list(self.targets)}
        if not self.grouped:
            del row["grouped"]
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Recipe:
        """The inverse of `to_json`. Raises ValueError for a missing, unknown or wrongly typed field."""
        row = {"grouped": False, **row}
        names = {field.name for field in fields(cls)}
        if set(row) != names:
            missing, unknown = sorted(names - set(row)), sorted(set(row) - names)
            raise ValueError(f"not a recipe: missing {missing}, unknown {unknown}")
        floats = {"dropout", "learning_rate"}
        if type(row["grouped"]) is not bool:
            raise ValueError(f"a recipe's grouped is true or false, not {row['grouped']!r}")
        for name in names - floats - {"targets", "grouped"}:
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
