"""An S3-compatible object store as a store: keys under s3://bucket/prefix, copies in a cache on this machine.

Knows conditional writes (s3_objects). `create` is a PutObject with If-None-Match: *. A commit record and its fence are
one object, changed by compare-and-swap on its entity tag (If-Match): a fence puts a short object with a name of its own
where the record will stand; a commit replaces exactly what it saw there before it asked whether its epoch is current.
So a fence that comes after that answer makes the commit fail, for ever, as the POSIX store's does. To everything but
`commit` and `fence`, a fence is no file.

Not as on POSIX: what a process of this machine writes by itself (logs, checkpoints) is seen elsewhere after `share`.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nonet.stores.atomic import PART
from nonet.stores.s3_objects import ABSENT, Objects, Seen
from nonet.stores.store import Published, Stamp, Store

_FENCE = "nonet-fence"
"""Metadata of a fence: its epoch."""
_FENCE_SIZE = 61
"""Bytes; a listing tells size and tag only, and no record is as short."""
_TRIES = 16


@dataclass(frozen=True, slots=True)
class _Place:
    """What stands where a record belongs: nothing (`tag` is ABSENT), a fence (`data` is None), or a record."""

    tag: str
    fence: int
    data: bytes | None


class S3Store(Store):
    """Objects under `prefix` of `bucket`; the server is at `endpoint`, None means Amazon's."""

    look_seconds = 5.0

    def __init__(self, root: Path, bucket: str, prefix: str, endpoint: str | None = None) -> None:
        super().__init__(root)
        self._objects = Objects(bucket, endpoint)
        self._prefix = f"{prefix}/" if prefix else ""
        self._fences: set[str] = set()
        self._shared: dict[Path, tuple[int, int]] = {}

    @property
    def url(self) -> str:
        return f"s3://{self._objects.bucket}/{self._prefix}".rstrip("/")

    def place(self, path: Path) -> str:
        return f"s3://{self._objects.bucket}/{self._key(path)}"

    def read(self, path: Path, start: int = 0) -> bytes:
        seen, data = self._objects.get(self._key(path), start)
        if _is_fence(seen):
            raise FileNotFoundError(f"{self.place(path)}: there is no such object")
        return data

    def exists(self, path: Path) -> bool:
        try:
            return not _is_fence(self._objects.head(self._key(path)))
        except FileNotFoundError:
            return False

    def holds(self, folder: Path) -> bool:
        return any(True for _ in self._objects.below(self._below(folder)))

    def names(self, folder: Path) -> list[str]:
        prefix = self._below(folder)
        found = self._objects.below(prefix, deep=False)
        return [
            key.removeprefix(prefix).rstrip("/")
            for key, size, tag in found
            if not (size == _FENCE_SIZE and self._known_fence(key, tag))
        ]

    def stamp(self, path: Path) -> Stamp:
        return (self._head(path).tag,)

    def modified(self, path: Path) -> float:
        return self._head(path).modified

    def create(self, path: Path, data: bytes) -> bool:
        return self._objects.put(self._key(path), data, condition=ABSENT)

    def replace(self, path: Path, data: bytes) -> None:
        self._objects.put(self._key(path), data)

    def delete(self, path: Path) -> None:
        self._objects.delete(self._key(path))

    def commit(self, path: Path, data: bytes, epoch: int, current: Callable[[], bool]) -> Published:
        if len(data) == _FENCE_SIZE:
            raise ValueError(f"{path.name}: a record of {_FENCE_SIZE} bytes could be taken for a fence")
        seen = self._look(path)
        if seen.data is not None:  # its own record stands where an answer got lost
            return Published.COMMITTED if seen.data == data else Published.ALREADY
        if seen.fence > epoch or not current():
            return Published.STALE
        if self._objects.put(self._key(path), data, condition=seen.tag):
            return Published.COMMITTED
        now = self._look(path).data
        return Published.STALE if now is None else Published.COMMITTED if now == data else Published.ALREADY

    def fence(self, path: Path, epoch: int) -> None:
        for _ in range(_TRIES):
            seen = self._look(path)
            if seen.data is not None or seen.fence >= epoch or self._put_fence(path, epoch, seen.tag):
                return
        raise OSError(f"{self.place(path)}: others change it all the time")

    def set_aside(self, path: Path, target: Path) -> None:
        seen = self._look(path)
        if seen.data is not None:
            self._objects.put(self._key(target), seen.data)
            if not self._put_fence(path, 0, seen.tag):  # somebody else was first
                self._objects.delete(self._key(target))

    def put_folder(self, folder: Path) -> None:
        for path in _files(folder):
            self._objects.upload(path, self._key(path))

    def share(self, path: Path) -> None:
        for file in _files(path) if path.is_dir() else [path]:
            with suppress(FileNotFoundError):  # not there yet, or not any more
                status = file.stat()
                state = (status.st_mtime_ns, status.st_size)
                if self._shared.get(file) != state:
                    self._objects.upload(file, self._key(file))
                    self._shared[file] = state
        for file in [f for f in self._shared if f.is_relative_to(path) and not f.exists()]:
            self._objects.delete(self._key(file))
            del self._shared[file]

    def fetch(self, path: Path, *, afresh: bool = False) -> Path:
        if afresh or not path.exists():
            self._objects.download(self._key(path), path)
        return path

    def fetch_folder(self, folder: Path) -> None:
        for key, size, _ in list(self._objects.below(self._below(folder))):
            path = self.root / key.removeprefix(self._prefix)
            if not (path.exists() and path.stat().st_size == size):
                with suppress(FileNotFoundError):  # removed meanwhile
                    self._objects.download(key, path)
            if path.exists():
                status = path.stat()
                self._shared[path] = (status.st_mtime_ns, status.st_size)

    def remove_folder(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._shared = {file: state for file, state in self._shared.items() if not file.is_relative_to(folder)}
        with suppress(OSError):
            for key, _, _ in list(self._objects.below(self._below(folder))):
                self._objects.delete(key)

    def sweep(self, folder: Path, names: Collection[str] | None = None) -> None:
        """Nothing to do: an object that was not written whole is none."""

    def free_bytes(self) -> int:
        self.root.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.root).free

    def shortage(self, reserve: int) -> str | None:
        """None: an object store has no end. A cache without room is an error of the worker that has it."""
        return None

    def _key(self, path: Path) -> str:
        return self._prefix + path.relative_to(self.root).as_posix()

    def _below(self, folder: Path) -> str:
        """What the keys of all that lies in `folder` begin with."""
        return self._prefix if folder == self.root else f"{self._key(folder)}/"

    def _head(self, path: Path) -> Seen:
        seen = self._objects.head(self._key(path))
        if _is_fence(seen):
            raise FileNotFoundError(f"{self.place(path)}: there is no such object")
        return seen

    def _look(self, path: Path) -> _Place:
        try:
            seen, data = self._objects.get(self._key(path))
        except FileNotFoundError:
            return _Place(ABSENT, 0, None)
        if _is_fence(seen):
            return _Place(seen.tag, int(seen.metadata[_FENCE]), None)
        return _Place(seen.tag, 0, data)

    def _put_fence(self, path: Path, epoch: int, tag: str) -> bool:
        """Replace what has `tag`. Each fence is unlike every other, so that its entity tag never comes again."""
        data = f"{_FENCE} {epoch:04d} {uuid.uuid4().hex}".encode().ljust(_FENCE_SIZE)
        return self._objects.put(self._key(path), data, condition=tag, metadata={_FENCE: str(epoch)})

    def _known_fence(self, key: str, tag: str) -> bool:
        """Whether an object of a fence's size is one; asked once for each."""
        if tag not in self._fences:
            with suppress(FileNotFoundError):
                if not _is_fence(self._objects.head(key)):
                    return False
            self._fences.add(tag)
        return True


def _is_fence(seen: Seen) -> bool:
    return _FENCE in seen.metadata


def _files(folder: Path) -> Iterator[Path]:
    """The files below `folder`, without those that are still being written."""
    for below, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(PART)]
        yield from (Path(below, name) for name in names if not name.startswith(PART))
