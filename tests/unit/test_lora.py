"""Whose tokens are whose: spans as a bank takes them. Without torch."""

from __future__ import annotations

import pytest

from nonet.adapters.lora import Route, Span, file_name, parameter_name


def test_spans_that_cover_an_input() -> None:
    route = Route((Span(2, 0, 4), Span(0, 4, 9)), 3)
    assert (route.length, route.alike) == (9, False)
    assert Route((Span(2, 0, 4), Span(0, 4, 8)), 3).alike
    assert not Route((Span(2, 0, 4), Span(2, 4, 8)), 3).alike, "two spans of one adapter"


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ((), "begin with token 0"),
        ((Span(0, 1, 2),), "begin with token 0"),
        ((Span(0, 0, 2), Span(1, 3, 4)), "ends at token 2, the next begins at 3"),
        ((Span(0, 0, 2), Span(1, 1, 4)), "ends at token 2, the next begins at 1"),
        ((Span(0, 0, 0),), "empty"),
        ((Span(3, 0, 1),), "none of the 3 slots"),
        ((Span(-1, 0, 1),), "none of the 3 slots"),
    ],
)
def test_spans_that_do_not(spans: tuple[Span, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Route(spans, 3)


def test_names_are_pefts() -> None:
    module = "model.layers.0.self_attn.q_proj"
    assert file_name(module, "A") == f"base_model.model.{module}.lora_A.weight"
    assert parameter_name(module, "B") == f"base_model.model.{module}.lora_B.default.weight"
