"""Quantise the pretrained base to 4 bits with GPTQ (format v1), calibrated on the puzzles' text.

Run from the repository's root: `python -m models.make.quantise PRETRAINED_FOLDER OUT_FOLDER [GROUP_SIZE]`.
The tokenizer's files must lie in OUT_FOLDER already.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from random import Random

from models.make.corpus import draw_document, encode_documents, load_tokenizer

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
CALIBRATION = 160  # documents


def draw_calibration(folder: Path) -> list[dict[str, list[int]]]:
    """Documents as the pretraining saw them, one per entry."""
    tokenizer = load_tokenizer(folder)
    rng = Random(4)
    documents = [draw_document(rng) for _ in range(CALIBRATION)]
    return [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids, _ in encode_documents(tokenizer, documents)]


def quantise(pretrained: Path, out: Path, group_size: int) -> None:
    """Write the quantised checkpoint beside the tokenizer's files."""
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    from gptqmodel import GPTQModel, QuantizeConfig

    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "float", Path(name) / "int4"
        shutil.copytree(pretrained, source)
        for file in TOKENIZER_FILES:
            shutil.copy(out / file, source / file)
        settings = QuantizeConfig(bits=4, group_size=group_size, desc_act=False, sym=True, pack_impl="original")
        model = GPTQModel.load(str(source), settings)
        model.quantize(draw_calibration(out), batch_size=80)
        model.save(str(target))
        write_weights(target / "model.safetensors", out / "model.safetensors")
        write_config(target / "config.json", out)


def write_weights(source: Path, target: Path) -> None:
    """Copy a checkpoint with what is not packed in float16."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(source)
    plain = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    save_file({name: tensor.contiguous() for name, tensor in plain.items()}, target, {"format": "pt"})


def write_config(source: Path, out: Path) -> None:
    """Write the configuration with the names that transformers 4 and 5, peft, GPTQModel and vLLM each look for."""
    config = json.loads(source.read_text("utf-8"))
    for name in ("dtype", "eos_token", "layer_types", "transformers_version", "rope_parameters"):
        config.pop(name, None)
    quantised = config["quantization_config"]
    keep = ("bits", "group_size", "desc_act", "sym", "lm_head", "quant_method", "checkpoint_format", "pack_dtype")
    settings = {name: quantised[name] for name in keep}
    settings["meta"] = {"quantizer": quantised["meta"]["quantizer"]}
    config |= {
        "torch_dtype": "float16",
        "rope_theta": 10000.0,
        "use_cache": True,
        "quantization_config": settings,
    }
    ends = {"eos_token_id": config["eos_token_id"], "pad_token_id": config["pad_token_id"]}
    for file, value in (
        ("config.json", config),
        ("generation_config.json", ends),
        ("quantize_config.json", settings),
    ):
        (out / file).write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    quantise(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 64)
