"""Durations as people read them. Knows no clock."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """`41 s`, `34 min`, `2 h 05 min`: two figures that matter, rounded."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
