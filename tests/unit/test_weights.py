"""What a base's config.json says of its quantisation, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nonet.bases.weights import Quantisation, check_whole, quantisation, weight_files
from tests.small_batch import ROOT


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (None, None),
        ({"quant_method": "gptq", "bits": 4}, Quantisation("gptq", 4, stored_less_one=True)),
        ({"quant_method": "gptq", "bits": 8, "checkpoint_format": "gptq_v2"}, Quantisation("gptq", 8)),
        ({"quant_method": "awq", "bits": 4, "version": "gemm", "zero_point": True}, Quantisation("awq", 4)),
        ({"quant_method": "awq", "w_bit": 4, "version": "GEMM"}, Quantisation("awq", 4)),
    ],
)
def test_gptq_awq_and_none_are_known(settings: dict[str, Any] | None, found: Quantisation | None) -> None:
    assert quantisation({"quantization_config": settings}) == found


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "gptq", "bits": 3},
        {"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"},
        {"quant_method": "awq", "bits": 4, "version": "gemv"},
        {"quant_method": "awq", "bits": 4, "zero_point": False},
        {"quant_method": "awq", "bits": 8},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {},
    ],
)
def test_what_else_there_is_is_refused_with_what_a_base_may_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a base is GPTQ .* AWQ .* or not quantised"):
        quantisation({"quantization_config": settings})


def test_a_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "one.safetensors"}}')
    with pytest.raises(FileNotFoundError, match=r"one\.safetensors.*is missing"):
        weight_files(tmp_path)


@pytest.mark.parametrize("left", [0, 5, 200, -1])
def test_a_file_that_was_cut_short_is_named_with_the_remedy(tmp_path: Path, left: int) -> None:
    whole = (ROOT / "models" / "demo-base" / "model.safetensors").read_bytes()
    file = tmp_path / "model.safetensors"
    file.write_bytes(whole)
    check_whole(file)
    file.write_bytes(whole[:left])
    with pytest.raises(ValueError, match=r"model\.safetensors: not a whole safetensors file .*; fetch the base again"):
        check_whole(file)
