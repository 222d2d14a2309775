"""Durations for people."""

import pytest

from nonet.duration import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (41.4, "41 s"),
        (99.4, "99 s"),
        (99.6, "2 min"),
        (2023, "34 min"),
        (5999, "1 h 40 min"),
        (10_800, "3 h 00 min"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
