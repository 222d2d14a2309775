"""The order and the rates of a training: pure functions of the recipe and the step."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.adapters.recipe import Recipe
from nonet.adapters.training import Course, Lesson, batches, learning_rate, lessons_by_step

PINNED = (9, 2, 1, 3, 7, 0, 4, 5, 6, 8)

recipes = st.builds(Recipe, batch_size=st.integers(1, 9), epochs=st.integers(1, 3), seed=st.integers(0, 2**31))


@given(recipe=recipes, count=st.integers(1, 60), epoch=st.integers(0, 5))
def test_an_epoch_is_every_example_once(recipe: Recipe, count: int, epoch: int) -> None:
    steps = list(batches(count, recipe, epoch))
    assert sorted(position for step in steps for position in step) == list(range(count))
    assert len(steps) * recipe.epochs == recipe.steps(count)
    assert {len(step) for step in steps[:-1]} <= {recipe.batch_size}


def test_the_order_is_of_the_seed_and_the_epoch_alone() -> None:
    first = list(batches(10, Recipe(), 0))
    assert first == list(batches(10, Recipe(rank=16, learning_rate=1.0), 0))
    assert first != list(batches(10, Recipe(), 1))
    assert first != list(batches(10, Recipe(seed=1), 0))
    assert first == [(at,) for at in PINNED], "the order may never change: checkpoints and keys rely on it"


@given(recipe=recipes, steps=st.integers(1, 50))
def test_the_rate_falls_evenly_to_nothing(recipe: Recipe, steps: int) -> None:
    rates = [learning_rate(recipe, step, steps) for step in range(steps + 1)]
    assert rates[0] == pytest.approx(recipe.learning_rate)
    assert rates[-1] == 0
    drops = [a - b for a, b in pairwise(rates)]
    assert drops == pytest.approx([recipe.learning_rate / steps] * steps)


def lessons(*stems: str) -> tuple[Lesson, ...]:
    return tuple(Lesson((at,), (at,), stem) for at, stem in enumerate(stems))


def test_a_resumed_course_goes_on_with_the_lessons_of_the_unbroken_one() -> None:
    course = Course(lessons(*"aabbc"), Recipe(batch_size=2, epochs=2), Path(), "")
    whole = list(lessons_by_step(course))
    assert [step for step, _ in whole] == list(range(course.steps)) == list(range(6))
    assert list(lessons_by_step(course, 4)) == whole[4:]


def test_a_grouped_step_takes_whole_stems() -> None:
    course = Course(lessons(*"abacb"), Recipe(batch_size=2, epochs=1, grouped=True), Path(), "")
    steps = [taken for _, taken in lessons_by_step(course)]
    assert course.steps == len(steps) == 2
    assert sorted(lesson.ids for step in steps for lesson in step) == sorted(lesson.ids for lesson in course.lessons)
    for stem in "abc":
        assert sum(any(lesson.stem == stem for lesson in step) for step in steps) == 1, stem
