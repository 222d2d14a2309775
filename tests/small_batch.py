"""A small batch for tests that need real training: two or three mixes over a few rows of the demo data."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "data" / "demo"

_BATCH = """\
name: small
base: {{model: {base}, revision: null}}
prompt: {{system: "选出正确的选项。Answer with one letter."}}
sources:
  official: {{path: official.jsonl, labels: gold}}
  prelim:   {{path: prelim.jsonl, labels: model}}
validation: {{source: official, fraction: 0.2, seed: 0}}
mixes:
{mixes}
training: {{rank: 8, alpha: 32, dropout: 0.05, max_length: 512, learning_rate: 1.0e-3, epochs: {epochs}, batch_size: 4,
           seed: 0, checkpoint_every: 4{training}}}
inference: {{test: test.jsonl, engine: auto, shard_size: 5}}
vote: {{method: majority, select: all{vote}}}
submission: submission.jsonl
"""
_MIXES = (
    "  all: {use: [official, prelim]}",
    "  part: {use: [official, prelim], sample: 0.7, seed: 1}",
    "  gold: {use: [official]}",
)


def write_batch(
    folder: Path,
    *,
    mixes: int = 2,
    rows: int = 20,
    test_rows: int = 10,
    epochs: int = 2,
    vote: str = "",
    training: str = "",
) -> Path:
    """Write the batch file and its data (the first `rows` rows of each demo source) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("official", rows), ("prelim", rows), ("test", test_rows)):
        lines = (DEMO / f"{name}.jsonl").read_bytes().splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_bytes(b"".join(lines[:count]))
    text = _BATCH.format(
        base=ROOT / "models" / "demo-base", mixes="\n".join(_MIXES[:mixes]), epochs=epochs, vote=vote, training=training
    )
    path = folder / "batch.yaml"
    path.write_text(text, encoding="utf-8")
    return path
