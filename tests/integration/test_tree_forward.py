"""Trees through real models: random ones of four kinds in two stacks, and the demo's GPTQ base with adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.compute_rig import BASE, run_in_stack

pytestmark = pytest.mark.timeout(900)
APART = {"float32": 1e-5, "float64": 1e-10}
"""Most that a letter's log-probability in a pack may differ from that of its prompt alone."""


def check_equal(found: dict[str, Any]) -> None:
    for name, told in found.items():
        most = APART[name.rpartition(" ")[2]]
        assert told["prompts"] > 20, name
        assert told["spread"] > 2, f"{name}: the answers differ from prompt to prompt"
        assert told["logprobs"] < most, f"{name}: a log-probability is {told['logprobs']} off"
        assert told["blocks"] < most, f"{name}: by blocks a log-probability is {told['blocks']} off"
        assert told["gradient"] < most, f"{name}: the gradient is {told['gradient']} off, relatively"


def test_random_trees_are_scored_as_their_prompts_alone() -> None:
    """Log-probabilities and all gradients, in float32 and float64, for every kind of attention."""
    found = run_in_stack("cpu", "tree_reference.py")
    assert {name.split()[0] for name in found} == {"Llama", "Mistral", "Qwen2", "Qwen3"}
    check_equal(found)


@pytest.mark.stacks
def test_the_same_in_the_stack_of_a_v100() -> None:
    found = run_in_stack("volta-cpu", "tree_reference.py")
    assert {name.split()[0] for name in found} == {"Llama", "Mistral", "Qwen2"}
    check_equal(found)


def test_the_engine_answers_a_gptq_base_as_prompts_one_by_one(tmp_path: Path) -> None:
    """Two adapters; packs; packs halved as memory runs out, down to a prompt; a base whose attention sees no trees; and
    a packed base, under both adapters at once and under one after the other.
    """
    found = run_in_stack("cpu", "tree_engine.py", BASE, tmp_path)
    asks = found["asks"]
    assert found["adapters_apart"] > 0.1
    for how in ("packed", "short", "alone", "banked", "banked_short", "split"):
        assert found[how] < 1e-5, how
    assert found["banked_told"] == [2 * asks], "both adapters in one forward"
    assert len(found["banked_short_told"]) > 1, "there was no memory for a prompt of both"
    for how, adapters in (
        ("told", 2),
        ("short_told", 2),
        ("alone_told", 2),
        ("banked_short_told", 2),
        ("split_told", 3),
    ):
        assert found[how] == sorted(found[how]), "progress only goes forward"
        assert found[how][-1] == adapters * asks
    assert len(found["told"]) < len(found["short_told"]) < len(found["alone_told"]) == 2 * asks
    assert "can't allocate memory" in found["refused"], "a single prompt that finds no memory is an error"
