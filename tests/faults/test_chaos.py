"""The short soak: two minutes of faults at random on the small batch. `make chaos` is the long one, on the demo."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.chaos import soak
from tests.undisturbed import Undisturbed

SECONDS = 120.0


@pytest.mark.timeout(1500)
def test_two_minutes_of_faults(
    tmp_path: Path, undisturbed: Undisturbed, record_property: Callable[[str, object], None]
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    counts = soak(tmp_path, undisturbed.batch, undisturbed.submission, SECONDS, seed, every=5.0)
    record_property("soak", f"seed {seed}: {counts.line()}")
    assert counts.kept, f"seed {seed}: {counts.line()}\n" + "\n".join(counts.broken)
    assert counts.runs >= 1
    assert counts.faults.total() >= 10
    assert counts.executions > 0
