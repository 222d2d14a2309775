"""Checkpoints: where a training stands, on disk, so that a killed one goes on to the same adapter.

Knows folders `step-<n>` with their checksums and whose training they are of. Knows tensors by name only; what they
mean is `nonet.adapters.training`'s.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonet.stores.atomic import PART, sync_folder

Losses = tuple[tuple[int, float, float], ...]
"""(step, loss, learning rate), steps from 1."""

TENSORS = "tensors.safetensors"
MANIFEST = "checkpoint.json"
KEPT = 2
"""Checkpoints kept: the newest, and the one before it for the case that the newest is found damaged."""

_TRIES = 8
_INTERFERED = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST)
"""What a writer meets when another one removes its part, or puts the same checkpoint there first."""
_FOLDER = re.compile(r"step-(\d+)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training after `step` steps: its `tensors` by name and its `losses` so far."""

    step: int
    tensors: Mapping[str, Any]
    losses: Losses


def write_checkpoint(directory: Path, identity: str, checkpoint: Checkpoint) -> None:
    """Commit a checkpoint of the training `identity` in `directory`; older ones of it are removed, but for one.

    Written beside, fsynced, renamed: a kill at any moment leaves the older ones as they were. A training that was
    frozen and given up for lost may write here too when it wakes up, and remove parts: what it writes is the same to
    the byte, and a part that is gone is written again. Raises OSError.
    """
    from safetensors.torch import save

    tensors = save({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()})
    body = {
        "identity": identity,
        "step": checkpoint.step,
        "losses": checkpoint.losses,
        "tensors": hashlib.sha256(tensors).hexdigest(),
    }
    manifest = json.dumps({"body": body, "sha256": _digest(body)}).encode()
    for left in reversed(range(_TRIES)):
        try:
            _commit(directory, identity, checkpoint.step, {TENSORS: tensors, MANIFEST: manifest})
            break
        except OSError as error:
            if not left or error.errno not in _INTERFERED:
                raise
    _remove_old(directory, identity)


def latest_checkpoint(directory: Path, identity: str) -> Checkpoint | None:
    """The newest sound checkpoint of the training `identity`; damaged and foreign ones are passed over."""
    for step, folder in reversed(_folders(directory)):
        found = _read(folder, step, identity)
        if found is not None:
            return found
    return None


def remove_leftovers(directory: Path) -> None:
    """Remove what killed writers left half written in `directory`."""
    if directory.is_dir():
        for part in directory.glob(f"{PART}*"):
            _remove(part)


def _commit(directory: Path, identity: str, step: int, files: Mapping[str, bytes]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    part = directory / f"{PART}{uuid.uuid4().hex}"
    part.mkdir()
    try:
        for name, data in files.items():
            _write(part / name, data)
        sync_folder(part)
        target = directory / f"step-{step}"
        if _read(target, step, identity) is None:
            _remove(target)  # damaged, or of another training
            part.rename(target)
            sync_folder(directory)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _read(folder: Path, step: int, identity: str) -> Checkpoint | None:
    from safetensors.torch import load

    body = _body(folder)
    if body is None or body["identity"] != identity or body["step"] != step:
        return None
    try:
        data = (folder / TENSORS).read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(data).hexdigest() != body["tensors"]:
        return None
    losses = tuple((int(at), float(loss), float(rate)) for at, loss, rate in body["losses"])
    return Checkpoint(step, load(data), losses)


def _body(folder: Path) -> dict[str, Any] | None:
    """The manifest of a checkpoint, None where it is missing or damaged; raises OSError where it cannot be read."""
    try:
        record = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    body = record.get("body") if isinstance(record, dict) else None
    return body if isinstance(body, dict) and _digest(body) == record.get("sha256") else None


def _folders(directory: Path) -> list[tuple[int, Path]]:
    if not directory.is_dir():
        return []
    matches = ((_FOLDER.fullmatch(entry.name), entry) for entry in directory.iterdir())
    return sorted((int(match[1]), entry) for match, entry in matches if match)


def _remove_old(directory: Path, identity: str) -> None:
    own = [folder for _, folder in _folders(directory) if (_body(folder) or {}).get("identity") == identity]
    for folder in own[:-KEPT]:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder, renamed first: a kill on the way, or another writer's rename, never leaves half a checkpoint."""
    part = folder.with_name(f"{PART}{uuid.uuid4().hex}")
    with suppress(OSError):
        folder.rename(part)
        shutil.rmtree(part)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
