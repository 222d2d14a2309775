"""Recipes: the steps that they make, and their JSON."""

from __future__ import annotations

from typing import Any

import pytest

from nonet.adapters.recipe import Recipe


@pytest.mark.parametrize(("questions", "steps"), [(3164, 6328), (2531, 5062), (1836, 3672), (7749, 15498)])
def test_the_known_runs_have_two_steps_a_question(questions: int, steps: int) -> None:
    assert Recipe().steps(questions) == steps


def test_a_last_small_batch_is_a_step() -> None:
    assert Recipe(batch_size=4, epochs=3).steps(9) == 9
    assert Recipe(batch_size=4, epochs=3).steps(8) == 6


def test_json_and_back() -> None:
    recipe = Recipe(rank=4, targets=("q_proj",), learning_rate=0.5)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert recipe.to_json()["targets"] == ["q_proj"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 8.0}, "rank is a whole number"),
        ({"rank": True}, "rank is a whole number"),
        ({"dropout": "0"}, "dropout is a number"),
        ({"targets": "q_proj"}, "targets are a list"),
        ({"more": 1}, r"unknown \['more'\]"),
    ],
)
def test_another_shape_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.from_json({**Recipe().to_json(), **change})


def test_grouped_is_told_where_it_is_true() -> None:
    assert "grouped" not in Recipe().to_json(), "keys of recipes from before it was there stay as they are"
    grouped = Recipe(grouped=True)
    assert Recipe.from_json(grouped.to_json()) == grouped
    with pytest.raises(ValueError, match="grouped is true or false, not 1"):
        Recipe.from_json({**Recipe().to_json(), "grouped": 1})
