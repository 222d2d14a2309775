"""The canary: engines that use an adapter agree with its training, those that ignore it do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.adapters.canary import CANARY, MEASURABLE, Probe, canary_bytes, effect, ignored, read_canary

logprobs = st.floats(-12, 0)
noise = st.floats(-MEASURABLE / 2.1, MEASURABLE / 2.1)


def probe(base: tuple[float, ...], adapter: tuple[float, ...]) -> Probe:
    return Probe((5, 6, 7), "ABCD"[: len(base)], (1, 2, 3, 4)[: len(base)], base, adapter)


four = st.tuples(logprobs, logprobs, logprobs, logprobs)


@given(st.lists(st.tuples(four, four, st.tuples(noise, noise, noise, noise)), min_size=1, max_size=3))
def test_rounding_is_told_from_being_ignored(
    given_: list[tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]],
) -> None:
    canary = tuple(probe(base, adapter) for base, adapter, _ in given_)
    used = [[a + n for a, n in zip(adapter, noise_, strict=True)] for _, adapter, noise_ in given_]
    without = [[b + n for b, n in zip(base, noise_, strict=True)] for base, _, noise_ in given_]
    assert ignored(canary, used) is None
    assert (ignored(canary, without) is not None) or effect(canary) < MEASURABLE


def test_the_reason_has_the_figures() -> None:
    canary = (probe((-1.0, -1.0), (-0.1, -3.0)),)
    assert effect(canary) == pytest.approx(1.45)
    found = ignored(canary, [(-1.0, -1.0)])
    assert found is not None
    assert "1.4500 from those that it gave when it was trained and 0.0000 from the base's own" in found
    assert ignored(canary, [(-3.0, -0.1)]) is not None, "another adapter's answers"


def test_an_adapter_that_moves_nothing_is_not_judged() -> None:
    assert ignored((probe((-1.0, -1.0), (-1.1, -1.1)),), [(-9.0, -9.0)]) is None
    assert ignored((), []) is None


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_canary(str(tmp_path)) == ()
    canary = (probe((-1.0, -1.0), (-0.1, -3.0)), probe((-1.0, -1.0, -2.0), (-0.1, -3.0, -4.0)))
    (tmp_path / CANARY).write_bytes(canary_bytes(canary))
    assert read_canary(str(tmp_path)) == canary


@pytest.mark.parametrize("text", ["", "{}[", "[1]", '[{"ids": []}]', '[{"ids": [1], "letters": "AB"}]', "7"])
def test_what_is_no_canary_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / CANARY).write_text(text)
    with pytest.raises(ValueError, match="train the adapter again"):
        read_canary(str(tmp_path))


def test_a_question_that_is_incomplete_is_refused(tmp_path: Path) -> None:
    whole = canary_bytes((probe((-1.0, -1.0), (-0.1, -3.0)),)).decode()
    (tmp_path / CANARY).write_text(whole.replace("-3.0", "-3.0, -4.0"))
    with pytest.raises(ValueError, match="incomplete"):
        read_canary(str(tmp_path))
