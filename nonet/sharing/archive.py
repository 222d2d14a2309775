"""A pack on disk: a folder, or a plain tar with the same bytes each time. Knows names and contents, no more."""

from __future__ import annotations

import filecmp
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path


def write_tar(path: Path, top: str, files: Iterable[tuple[str, bytes]]) -> int:
    """Write `files` below the folder `top` as a tar at `path`; returns its size. No owner, no time and no order but
    that of `files` is in it. Raises FileExistsError where another file is there, OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = path.with_name(f".{path.name}.part")
    try:
        with tarfile.open(buffer, "w", format=tarfile.PAX_FORMAT) as archive:
            for name, data in files:
                member = tarfile.TarInfo(f"{top}/{name}")
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
        if path.exists() and not (path.is_file() and filecmp.cmp(buffer, path, shallow=False)):
            raise FileExistsError(f"{path} is there already, with other content; give another name, or remove it")
        buffer.replace(path)
    finally:
        buffer.unlink(missing_ok=True)
    return path.stat().st_size


def write_folder(path: Path, files: Iterable[tuple[str, bytes]]) -> int:
    """Write `files` below the folder `path`, which must be empty or missing; returns their size.

    Raises FileExistsError, OSError.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} is there already; give an empty folder, or another name")
    size = 0
    for name, data in files:
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        size += len(data)
    return size
