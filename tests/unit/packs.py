"""What tests of packs share: the batch of a home that imports, and how a pack is unpacked."""

from __future__ import annotations

import tarfile
from pathlib import Path

BATCH = """\
name: guests
base: {model: ./base}
adapters:
  theirs: {import: theirs}
inference: {test: test.jsonl, shard_size: 2}
"""


def unpacked(pack: Path, folder: Path) -> Path:
    with tarfile.open(pack) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top
