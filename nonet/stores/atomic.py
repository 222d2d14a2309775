"""Atomic files: a reader sees the old content, the new content or nothing. Knows the file system, not what is stored.

Both ways write beside the target, fsync, then make one atomic step, so that a kill at any point leaves at most a
hidden leftover (`.part-<target>-*`) that no reader looks at. Leftovers may be removed at any time, on any machine: a
living writer whose part is gone writes it again, so that nobody has to guess from clocks who is still alive.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PART = ".part-"
"""Prefix of files that are still being written; readers skip them."""
_TRIES = 5
"""How often a write is begun when its part is removed meanwhile."""


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`, over whatever stands there; raises OSError."""
    _put(path, data, os.replace)
    sync_folder(path.parent)


def create_file(path: Path, data: bytes) -> bool:
    """Put `data` at `path` unless something stands there; True when this call created it. Raises OSError."""
    return _put(path, data, link_new)


def link_new(part: Path, path: Path) -> bool:
    """Give the file `part` the name `path` too, unless something stands there; True when this call did it.

    A hard link is exclusive on POSIX and on NFS (link(2)), where a repeated request may report as existing what it
    made itself. Raises FileNotFoundError when `part` was removed, OSError otherwise.
    """
    try:
        os.link(part, path)
    except FileExistsError:
        with suppress(FileNotFoundError):
            return part.samefile(path)
        return False
    sync_folder(path.parent)
    return True


@contextmanager
def written_beside(path: Path, data: bytes, tag: str = "") -> Iterator[Path]:
    """`data` in a new part file of `path`, synced; the part is removed at the end. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{PART}{path.name}-{tag}{uuid.uuid4().hex}")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        with suppress(OSError):
            part.unlink()


def parts_of(path: Path) -> list[Path]:
    """The part files of `path` that lie beside it: of writers at work, and of those that were killed."""
    start = f"{PART}{path.name}-"
    try:
        return [path.with_name(name) for name in os.listdir(path.parent) if name.startswith(start)]
    except FileNotFoundError:
        return []


def remove_parts(path: Path) -> None:
    """Remove the part files of `path`; raises OSError."""
    for part in parts_of(path):
        part.unlink(missing_ok=True)


def _put(path: Path, data: bytes, step: Callable[[Path, Path], T]) -> T:
    """Write `data` beside `path` and take the atomic `step`; again when the part was removed meanwhile."""
    for _ in range(_TRIES - 1):
        with written_beside(path, data) as part, suppress(FileNotFoundError):
            return step(part, path)
    with written_beside(path, data) as part:
        return step(part, path)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the content of `path` durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
