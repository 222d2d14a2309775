"""Joint training beside separate training: in float64 on a random model, and over the demo's base as it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.compute_rig import run_in_stack

pytestmark = pytest.mark.timeout(300)


def test_every_adapter_is_the_one_of_a_training_by_itself(tmp_path: Path) -> None:
    measured = run_in_stack("cpu", "joint_reference.py", tmp_path)
    assert len(measured) == 4
    for name, apart in measured.items():
        assert apart["gradient"] < 1e-9, (name, apart)
        assert apart["loss"] < 1e-9, (name, apart)
        assert apart["weight"] < 1e-6, f"{name}: {apart}, weights are float32 in an adapter's file"
