"""A base of a full-size shape with random weights, GPTQ-Int4, for measuring: time and memory do not depend on values.

Run with the Python of a stack: `python -m models.make.random_base OUT --shape 32b`. Shapes are those that the named
models publish in their config.json; the tokenizer is the demo base's, so the vocabulary is mostly unused.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parents[1] / "demo-base"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
GROUP = 128
EIGHT = 0x77777777
"""Zero points of 8 in each of eight fields, stored less one (GPTQ v1, symmetric)."""
BIASED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
SPREAD = 0.02
"""Standard deviation of the weights; a uniform 4-bit integer has one of 4.61."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Qwen2 model, by their names in config.json."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int = 152064


SHAPES = {
    "tiny": Shape(256, 768, 2, 4, 2, 1280),  # to try this script where there is no GPU
    "40m": Shape(512, 1664, 12, 8, 2, 2048),  # what a CPU measures: of 40 M parameters 2.6 % are the output layer
    "7b": Shape(3584, 18944, 28, 28, 4),  # Qwen2.5-7B-Instruct
    "14b": Shape(5120, 13824, 48, 40, 8),  # Qwen2.5-14B-Instruct
    "32b": Shape(5120, 27648, 64, 40, 8),  # Qwen2.5-32B-Instruct
}


def write_base(out: Path, shape: Shape, seed: int) -> None:
    """Write config, tokenizer and one safetensors file a layer into the new folder `out`."""
    import torch
    from safetensors.torch import save_file

    out.mkdir(parents=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(seed)
    files: dict[str, str] = {}
    for name, tensors in _files(shape, generator, device):
        save_file({key: tensor.contiguous().cpu() for key, tensor in tensors.items()}, out / name, {"format": "pt"})
        files |= dict.fromkeys(tensors, name)
    (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}), "utf-8")
    config = base_config(shape)
    (out / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
    (out / "quantize_config.json").write_text(json.dumps(config["quantization_config"], indent=1), "utf-8")
    for file in TOKENIZER_FILES:
        shutil.copy(DEMO / file, out)


def base_config(shape: Shape) -> dict[str, Any]:
    """The config.json of a base of this shape."""
    config: dict[str, Any] = json.loads((DEMO / "config.json").read_text("utf-8"))
    config |= {**asdict(shape), "tie_word_embeddings": False, "rope_theta": 1000000.0, "max_position_embeddings": 32768}
    config["quantization_config"] |= {"group_size": GROUP}
    return config


def base_tensors(shape: Shape, seed: int, device: str) -> Iterator[tuple[str, Any]]:
    """(name, tensor) of everything in the base, drawn on `device` one layer after the other; no files."""
    import torch

    for _, tensors in _files(shape, torch.Generator(device).manual_seed(seed), device):
        yield from tensors.items()


def _files(shape: Shape, generator: Any, device: str) -> Iterator[tuple[str, dict[str, Any]]]:
    import torch

    def dense(*size: int) -> Any:
        return torch.randn(size, generator=generator, device=device, dtype=torch.float16) * SPREAD

    ends = {"model.embed_tokens.weight": dense(shape.vocab_size, shape.hidden_size)}
    ends["lm_head.weight"] = dense(shape.vocab_size, shape.hidden_size)
    ends["model.norm.weight"] = torch.ones(shape.hidden_size, dtype=torch.float16)
    yield "model-ends.safetensors", ends
    for layer in range(shape.num_hidden_layers):
        yield f"model-layer-{layer:03d}.safetensors", dict(_layer(shape, layer, generator, device))


def _layer(shape: Shape, layer: int, generator: Any, device: str) -> Iterator[tuple[str, Any]]:
    import torch

    hidden, wide = shape.hidden_size, shape.intermediate_size
    heads = hidden // shape.num_attention_heads * shape.num_key_value_heads
    sizes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden, heads),
        "self_attn.v_proj": (hidden, heads),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (hidden, wide),
        "mlp.up_proj": (hidden, wide),
        "mlp.down_proj": (wide, hidden),
    }
    for module, (inputs, outputs) in sizes.items():
        name = f"model.layers.{layer}.{module}"
        words = torch.randint(-(2**31), 2**31, (inputs // 8, outputs), generator=generator, device=device)
        yield f"{name}.qweight", _centred(words.to(torch.int32))
        yield f"{name}.qzeros", torch.full((inputs // GROUP, outputs // 8), EIGHT, dtype=torch.int32)
        yield f"{name}.scales", torch.full((inputs // GROUP, outputs), SPREAD / 4.61, dtype=torch.float16)
        yield f"{name}.g_idx", torch.arange(inputs, dtype=torch.int32) // GROUP
        if module in BIASED:
            yield f"{name}.bias", torch.zeros(outputs, dtype=torch.float16)
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield f"model.layers.{layer}.{norm}.weight", torch.ones(hidden, dtype=torch.float16)


def _centred(words: Any) -> Any:
    """`words` with each 4-bit field of 0 made 8, the zero point: the mean of the weights is then 0, where the half that
    uniform integers are off, the same in every column, would overflow float16 after some layers.
    """
    zeros = ~(words | words >> 1 | words >> 2 | words >> 3) & 0x11111111
    return words | zeros << 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_base(arguments.out, SHAPES[arguments.shape], arguments.seed)


if __name__ == "__main__":
    main()
