"""A batch of problems as long as real ones: four questions on a stem of some 350 tokens, made of the demo's rows."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"
STEMS = 16
"""Demo stems in one long stem."""

_BATCH = """\
name: long
base: {{model: {base}}}
prompt: {{system: "选出正确的选项。Answer with one letter."}}
sources:
  official: {{path: train.jsonl, labels: gold}}
validation: {{source: official, fraction: 0.1, seed: 0}}
mixes:
{mixes}
training: {{max_length: 512, learning_rate: 1.0e-4, epochs: 1, batch_size: 1, checkpoint_every: 5}}
inference: {{test: test.jsonl, shard_size: {shard}}}
vote: {{select: all}}
submission: submission.jsonl
"""


def write_long_batch(folder: Path, base: Path, problems: int, adapters: int) -> Path:
    """Write a batch of so many problems to train on and twice as many to answer, in four shards; returns its file."""
    folder.mkdir(parents=True)
    train = _long(DEMO / "official.jsonl", problems, labelled=True)
    test = _long(DEMO / "test.jsonl", 2 * problems, labelled=False)
    for name, rows in (("train", train), ("test", test)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, "utf-8")
    mixes = "\n".join(f"  m{i}: {{use: [official], sample: 0.9, seed: {i}}}" for i in range(adapters))
    path = folder / "batch.yaml"
    path.write_text(_BATCH.format(base=base, mixes=mixes, shard=-(-2 * problems // 4)), "utf-8")
    return path


def _long(file: Path, count: int, *, labelled: bool) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    made = []
    for index in range(count):
        start = index * 5
        chosen = [rows[(start + at) % len(rows)] for at in range(STEMS)]
        questions = list(islice((q for row in chosen for q in row["questions"]), 4))
        kept = questions if labelled else [{k: v for k, v in q.items() if k != "answer"} for q in questions]
        stem = "\n".join(row["problem"] for row in chosen)
        made.append({"id": f"{file.stem}_{index:04d}", "problem": f"{index}. {stem}", "questions": kept})
    return made
