"""Whose tokens are whose: segments as a pack takes them. Without torch."""

from __future__ import annotations

import pytest

from nonet.lora import Route, Segment, file_name, parameter_name


def test_segments_that_cover_an_input() -> None:
    route = Route((Segment(2, 0, 4), Segment(0, 4, 9)), 3)
    assert (route.length, route.alike) == (9, False)
    assert Route((Segment(2, 0, 4), Segment(0, 4, 8)), 3).alike
    assert not Route((Segment(2, 0, 4), Segment(2, 4, 8)), 3).alike, "two segments of one adapter"


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        ((), "begin with token 0"),
        ((Segment(0, 1, 2),), "begin with token 0"),
        ((Segment(0, 0, 2), Segment(1, 3, 4)), "ends at token 2, the next begins at 3"),
        ((Segment(0, 0, 2), Segment(1, 1, 4)), "ends at token 2, the next begins at 1"),
        ((Segment(0, 0, 0),), "empty"),
        ((Segment(3, 0, 1),), "none of the 3 slots"),
        ((Segment(-1, 0, 1),), "none of the 3 slots"),
    ],
)
def test_segments_that_do_not(segments: tuple[Segment, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Route(segments, 3)


def test_names_are_pefts() -> None:
    module = "model.layers.0.self_attn.q_proj"
    assert file_name(module, "A") == f"base_model.model.{module}.lora_A.weight"
    assert parameter_name(module, "B") == f"base_model.model.{module}.lora_B.default.weight"
