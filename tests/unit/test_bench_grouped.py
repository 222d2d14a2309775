"""bench.grouped: arms, and what is told of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.grouped import accuracy, compared, read, recipe_of, table
from nonet.adapters.recipe import Recipe


def test_an_arm_says_what_a_step_takes() -> None:
    exact, grouped = recipe_of("exact/4", 3, Recipe()), recipe_of("grouped/1", 3, Recipe())
    assert (exact.grouped, exact.batch_size, exact.seed) == (False, 4, 3)
    assert (grouped.grouped, grouped.batch_size, grouped.seed) == (True, 1, 3)
    for arm in ("exact", "exact/0", "stems/1", "exact/x"):
        with pytest.raises(ValueError, match="an arm is"):
            recipe_of(arm, 0, Recipe())


def test_arms_are_compared_question_by_question(tmp_path: Path) -> None:
    save = tmp_path / "rows.jsonl"
    rows = [("a", 0, [1, 1, 0, 0]), ("a", 1, [1, 0, 0, 0]), ("b", 0, [1, 0, 1, 1]), ("b", 2, [1, 1, 1, 1])]
    for arm, seed, hits in rows:
        row = {"arm": arm, "seed": seed, "steps": 9, "hits": hits, "validation": 2}
        with save.open("a") as file:
            file.write(json.dumps(row) + "\n")
    found = read(save)
    assert accuracy(found["a"][0]) == 0.5
    assert accuracy(found["a"][0], validation=True) == 1.0
    test = compared(found["a"], found["b"])
    assert (test.only_first, test.only_second) == (1, 2), "of the seed that both have"
    told = list(table(found))
    assert "| a | 9 | 0.5000, 0.2500 | 0.3750 | 0.7500 |" in told
    assert told[-1].startswith("b - a: +0.2500 in the mean of 1 seeds")
    assert read(tmp_path / "none.jsonl") == {}
