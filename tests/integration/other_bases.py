"""The demo base in other forms, made with a stack's Python: AWQ with the very same numbers, and not quantised.

`python other_bases.py BASE OUT FORM` writes the base FORM ("awq", "float16", "float32") into OUT.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from nonet.bases.awq import ORDER
from nonet.bases.base import base_config
from nonet.bases.gptq import unpacked
from nonet.bases.weights import plain_weights, quantisation


def main(base: Path, out: Path, form: str) -> None:
    """Write the base; its tokenizer is the demo base's."""
    import torch
    from safetensors.torch import load_file, save_file

    config = dict(base_config(str(base)))
    how = quantisation(config)
    settings = config.pop("quantization_config")
    assert how is not None
    if form == "awq":
        config["quantization_config"] = {
            "quant_method": "awq",
            "bits": how.bits,
            "group_size": settings["group_size"],
            "version": "gemm",
            "zero_point": True,
        }
        weights = as_awq(load_file(base / "model.safetensors"))
    else:
        numbers = getattr(torch, form)
        weights = {name: tensor.to(numbers) for name, tensor in plain_weights(base, how).items()}
        config["torch_dtype"] = form
    out.mkdir(parents=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()}, out / "model.safetensors", {"format": "pt"}
    )
    (out / "config.json").write_text(json.dumps(config), "utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "generation_config.json"):
        shutil.copy(base / name, out)
    print(json.dumps({"tensors": len(weights)}))


def as_awq(tensors: dict[str, Any]) -> dict[str, Any]:
    """GPTQ weights (four bits, zero points stored less one, no activation order) packed anew as AWQ packs them."""
    packed: dict[str, Any] = {}
    for name, tensor in tensors.items():
        part = name.rpartition(".")[2]
        if part == "qweight":
            packed[name] = words(unpacked(tensor.t(), 4).t())
        elif part == "qzeros":
            packed[name] = words(unpacked(tensor, 4) + 1)
        elif part != "g_idx":
            packed[name] = tensor
    return packed


def words(values: Any) -> Any:
    """Integers [rows, n] as AWQ's words [rows, n / 8]."""
    import torch

    fields = values.reshape(values.shape[0], -1, 8).to(torch.int64)
    packed = torch.zeros(fields.shape[:2], dtype=torch.int64)
    for output, field in enumerate(ORDER):
        packed |= fields[:, :, output] << (4 * field)
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
