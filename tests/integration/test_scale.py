"""A run of thousands of cells, on real storage: what is done at every look must grow with them, not with their square.

The limits are some thirty times what is measured (docs/performance.md has the figures of a large run).
"""

from __future__ import annotations

from pathlib import Path

from bench.scale import measure

LIMITS = {"plan": 4.0, "status": 10.0, "first": 2.0, "tick": 1.0}


def test_looks_at_a_run_of_3000_cells_take_no_time(tmp_path: Path) -> None:
    figures = {figure.name: figure.median for figure in measure(tmp_path, adapters=12, shards=250, repeats=1)}
    assert len(figures) == 10
    slow = {name: seconds for name, seconds in figures.items() if seconds > LIMITS[name.split(" ")[0].rstrip(",")]}
    assert not slow
