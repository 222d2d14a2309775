"""Storage of artifacts: publish once, read verified, set damaged ones aside. Knows commits, not what they mean.

An artifact is a commit record (`commits/<scope>/<key>.json`) created exclusively: the first one wins, and until it
stands nothing of the artifact is visible. Small artifacts live inside the record (`body`); large ones as files that
the record names with size and SHA-256. The record carries the SHA-256 of itself.

Whoever begins a newer epoch fences the older ones first (`fence`): what a frozen process had ready to publish cannot
be committed any more when it wakes up. How that holds, and where the files lie, is the store's matter (nonet.stores).
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonet.stores.home import Home
from nonet.stores.key import SCHEMA, canonical, digest, file_digest
from nonet.stores.store import Published as Published
from nonet.stores.store import Store

_MEND = "submit the batch again, then `nonet rerun` what failed"


class DamagedError(Exception):
    """An artifact failed its checks; it has been set aside and counts as missing."""


class DamagedInputError(DamagedError):
    """An input is not what was stored; only another submit of its batch can mend it."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of an artifact: path relative to the home, size in bytes, SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Commit:
    """A committed artifact: its files by name, its body, and the epoch that made it."""

    scope: str
    key: str
    epoch: int
    files: Mapping[str, StoredFile]
    body: Mapping[str, Any]


class Storage:
    """Artifacts under a home. Safe for any number of processes on any number of machines."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.store: Store = home.store
        self._verified: set[tuple[str, int, int]] = set()

    def committed(self, scope: str) -> frozenset[str]:
        """Keys with a commit record in `scope`; a directory listing, nothing is verified."""
        names = self.store.names(self.home.commits(scope))
        return frozenset(name[:-5] for name in names if name.endswith(".json"))

    def has(self, scope: str, key: str) -> bool:
        return self.store.exists(self._record(scope, key))

    def read(self, scope: str, key: str, *, afresh: bool = False) -> Commit | None:
        """The verified commit, None when there is none; raises DamagedError after setting a damaged one aside.

        Files are hashed once for each state that this process has seen of them, `afresh` in any case.
        """
        if afresh:
            self._verified.clear()
        try:
            return self.examine(scope, key)
        except DamagedError as error:
            self.set_aside(scope, key)
            raise DamagedError(f"{error}; set aside, it will be computed again") from error

    def examine(self, scope: str, key: str, *, stored: bool = False) -> Commit | None:
        """The verified commit, None when there is none; raises DamagedError and leaves a damaged one where it is.

        `stored`: what the store holds now is looked at, whatever copies this machine has.
        """
        path = self._record(scope, key)
        try:
            raw = self.store.read(path)
        except FileNotFoundError:
            return None
        try:
            commit = _parse(raw, scope, key)
            for file in commit.files.values():
                self._verify(file, stored=stored)
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise DamagedError(f"{self.store.place(path)}: {error}") from error
        return commit

    def record(self, scope: str, key: str) -> Commit | None:
        """The commit as its record tells it, its files unseen (an adapter's are large); None when there is none, or
        a damaged one, which is left for `read` to set aside."""
        try:
            return _parse(self.store.read(self._record(scope, key)), scope, key)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def content(self, commit: Commit, name: str) -> bytes | None:
        """A file of a commit, verified; None when it has none of that name, or a damaged one."""
        stored = commit.files.get(name)
        if stored is None:
            return None
        try:
            self._verify(stored)
            return self.path(stored).read_bytes()
        except (ValueError, FileNotFoundError):
            return None

    def set_aside(self, scope: str, key: str) -> None:
        """Move the commit record of `key` into quarantine; its files stay where they are for a look."""
        target = self.home.quarantine / f"{scope}.{key}.{uuid.uuid4().hex}.json"
        self.store.set_aside(self._record(scope, key), target)

    def staging(self, key: str, epoch: int) -> Path:
        """A new empty folder on this machine in which the files of `key` can be written."""
        folder = self.home.blob(key) / f"{epoch:04d}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        return folder

    def publish(
        self,
        scope: str,
        key: str,
        epoch: int,
        *,
        folder: Path | None = None,
        body: Mapping[str, Any] | None = None,
        current: Callable[[], bool] = lambda: True,
    ) -> Published:
        """Commit the files in `folder` (made by `staging`) and `body` under `key`; the first commit wins.

        `current` is asked in the last moment whether `epoch` may still publish. When it may not, or another commit
        stands already, `folder` is removed; raises OSError.
        """
        files = self._stored_files(folder) if folder is not None else {}
        record = {
            "schema": SCHEMA,
            "scope": scope,
            "key": key,
            "epoch": epoch,
            "files": {n: {"path": f.path, "size": f.size, "sha256": f.sha256} for n, f in files.items()},
            "body": dict(body or {}),
        }
        record["sha256"] = digest(canonical(record))
        published = self.store.commit(self._record(scope, key), canonical(record), epoch, current)
        if published is not Published.COMMITTED and folder is not None:
            self.store.remove_folder(folder)
        return published

    def fence(self, scope: str, key: str, epoch: int) -> None:
        """Bar every epoch of `key` before `epoch` from publishing, and remove what those tries left behind.

        To be called once `epoch` has begun, before it writes anything. Files that a commit names stay, and so do
        those of commits that were set aside.
        """
        self.store.fence(self._record(scope, key), epoch)
        self._remove_staging(scope, key, epoch)

    def sweep(self, scope: str, keys: Iterable[str]) -> None:
        """Remove what killed tries at `keys` left behind, where they are committed: nobody can publish them again."""
        done = self.committed(scope).intersection(keys)
        self.store.sweep(self.home.commits(scope), [f"{key}.json" for key in done])
        blobs = self.home.all_blobs
        here = os.listdir(blobs) if blobs.is_dir() else []
        for key in done.intersection((*self.store.names(blobs), *here)):
            self._remove_staging(scope, key, sys.maxsize)

    def path(self, stored: StoredFile) -> Path:
        """Where the file lies on this machine once its commit has been read."""
        return self.home.root / stored.path

    def plans(self) -> tuple[Path, ...]:
        """The plan of every run, the earliest submitted first."""
        found = []
        for run in self.store.names(self.home.runs):
            with suppress(ValueError, FileNotFoundError, NotADirectoryError):  # anything else that lies there
                found.append((self.store.modified(self.home.plan(run)), self.home.plan(run)))
        return tuple(path for _, path in sorted(found))

    def put_input(self, data: bytes) -> str:
        """Store `data` under its SHA-256 and return that; twice is one file, a damaged one is mended."""
        name = digest(data)
        path = self.home.input(name)
        if not self.store.exists(path) or digest(self.store.read(path)) != name:
            self.store.replace(path, data)
        return name

    def read_input(self, name: str) -> bytes:
        """The content stored as `name`; raises DamagedInputError when it is gone or not what was stored."""
        return self.input_path(name).read_bytes()

    def input_path(self, name: str, *, stored: bool = False) -> Path:
        """A file of this machine with the content stored as `name`; raises DamagedInputError.

        It is hashed once for each state of it that this process has seen. `stored`: as in `examine`.
        """
        path = self.home.input(name)
        for afresh in (True,) if stored else (False, True):  # a copy that was damaged here is fetched again
            try:
                status = self.store.fetch(path, afresh=afresh).stat()
                seen = (path.name, status.st_mtime_ns, status.st_size)
                if seen in self._verified or file_digest(path) == name:
                    self._verified.add(seen)
                    return path
            except FileNotFoundError:
                raise DamagedInputError(f"{self.store.place(path)} is gone; {_MEND}") from None
        raise DamagedInputError(f"{self.store.place(path)}: content does not match its name; {_MEND}")

    def _remove_staging(self, scope: str, key: str, before: int) -> None:
        blob = self.home.blob(key)
        here = os.listdir(blob) if blob.is_dir() else []  # of an object store: what was never put there
        names = {*self.store.names(blob), *here}
        folders = [blob / name for name in names if int(name.split("-")[0]) < before]
        if not folders:
            return
        quarantine = self.home.quarantine
        aside = [quarantine / n for n in self.store.names(quarantine) if n.startswith(f"{scope}.{key}.")]
        named = b""
        for record in (self._record(scope, key), *aside):
            with suppress(FileNotFoundError):
                named += self.store.read(record)
        for folder in folders:
            if folder.name.encode() not in named:
                self.store.remove_folder(folder)

    def _record(self, scope: str, key: str) -> Path:
        return self.home.commits(scope) / f"{key}.json"

    def _stored_files(self, folder: Path) -> dict[str, StoredFile]:
        self.store.put_folder(folder)
        files = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            relative = path.relative_to(self.home.root).as_posix()
            files[path.relative_to(folder).as_posix()] = StoredFile(relative, path.stat().st_size, file_digest(path))
        return files

    def _verify(self, file: StoredFile, *, stored: bool = False) -> None:
        """Checks size and SHA-256, once for each state of the file that this process has seen."""
        path = self.path(file)
        if not path.resolve().is_relative_to(self.home.root.resolve()):
            raise ValueError(f"{file.path}: outside the home")
        for afresh in (True,) if stored else (False, True):  # a copy that was damaged here is fetched again
            status = self.store.fetch(path, afresh=afresh).stat()
            seen = (file.path, status.st_mtime_ns, status.st_size)
            if seen in self._verified:
                return
            if status.st_size == file.size and file_digest(path) == file.sha256:
                self._verified.add(seen)
                return
        raise ValueError(f"{file.path}: content does not match its checksum")


def _parse(raw: bytes, scope: str, key: str) -> Commit:
    record = json.loads(raw)
    checksum = record.pop("sha256")
    if digest(canonical(record)) != checksum:
        raise ValueError("the record does not match its checksum")
    if record["key"] != key or record["scope"] != scope:
        raise ValueError(f"the record is that of {record['scope']}/{record['key']}")
    files = {name: StoredFile(**stored) for name, stored in record["files"].items()}
    return Commit(scope, key, record["epoch"], files, record["body"])
