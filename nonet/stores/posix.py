"""A folder as a store: a local disk, NFS, a cluster file system. Knows hard links, renames and fsync
(nonet.stores.atomic).

It needs of the file system what POSIX and NFSv4 (RFC 7530) promise: link(2) is exclusive, rename(2) is atomic, and what
was synced stays. NFS clients may see the names in a folder late, by their attribute cache (`acdirmax`):
docs/reliability.md says what that can mean.

A commit record is linked from a part file that carries its epoch. A fence removes the parts of older epochs: what a
frozen process had ready to publish is gone when it wakes up, and it cannot write it again, since it asks whether its
epoch is still current after writing and before linking.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from nonet.limits.space import shortage
from nonet.stores.atomic import (
    PART,
    create_file,
    link_new,
    parts_of,
    replace_file,
    sync_file,
    sync_folder,
    written_beside,
)
from nonet.stores.store import Published, Stamp, Store


class PosixStore(Store):
    """Files under the folder `root`."""

    look_seconds = 1.0

    @property
    def url(self) -> str:
        return str(self.root)

    def place(self, path: Path) -> str:
        return str(path)

    def read(self, path: Path, start: int = 0) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()

    def exists(self, path: Path) -> bool:
        return path.exists()

    def holds(self, folder: Path) -> bool:
        return folder.is_dir()

    def names(self, folder: Path) -> list[str]:
        return [name for name in _listed(folder) if not name.startswith(PART)]

    def stamp(self, path: Path) -> Stamp:
        status = path.stat()
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def modified(self, path: Path) -> float:
        return path.stat().st_mtime

    def create(self, path: Path, data: bytes) -> bool:
        return create_file(path, data)

    def replace(self, path: Path, data: bytes) -> None:
        replace_file(path, data)

    def delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def commit(self, path: Path, data: bytes, epoch: int, current: Callable[[], bool]) -> Published:
        with written_beside(path, data, f"{epoch:04d}-") as part:
            if not current():
                return Published.STALE
            try:
                if link_new(part, path):
                    return Published.COMMITTED
                # its own record stands where an earlier call failed after the link
                return Published.COMMITTED if path.read_bytes() == data else Published.ALREADY
            except FileNotFoundError:
                return Published.STALE

    def fence(self, path: Path, epoch: int) -> None:
        for part in parts_of(path):
            if int(part.name.rsplit("-", 2)[1]) < epoch:
                part.unlink(missing_ok=True)

    def set_aside(self, path: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            os.rename(path, target)

    def put_folder(self, folder: Path) -> None:
        for path in (p for p in folder.rglob("*") if p.is_file()):
            sync_file(path)
        sync_folder(folder)
        sync_folder(folder.parent)

    def share(self, path: Path) -> None:
        """Nothing to do: it lies where every machine sees it."""

    def fetch(self, path: Path, *, afresh: bool = False) -> Path:
        path.stat()
        return path

    def fetch_folder(self, folder: Path) -> None:
        """Nothing to do: it lies here."""

    def remove_folder(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, folder: Path, names: Collection[str] | None = None) -> None:
        for part in (name for name in _listed(folder) if name.startswith(PART)):
            if names is None or any(part.startswith(f"{PART}{name}-") for name in names):
                (folder / part).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free

    def shortage(self, reserve: int) -> str | None:
        return shortage(self.root, reserve)


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
