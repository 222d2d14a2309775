"""Storage of artifacts: publish once, read verified, set damaged ones aside. Knows commits, not what they mean.

An artifact is a commit record (`commits/<scope>/<key>.json`) created exclusively: the first one wins, and until it
stands nothing of the artifact is visible. Small artifacts live inside the record (`body`); large ones as files that
the record names with size and SHA-256. The record carries the SHA-256 of itself.

A record is linked from a part file that carries its epoch. Whoever begins a newer epoch removes the parts of the
older ones first (`fence`): what a frozen process had ready to publish is gone when it wakes up, and it cannot write
it again, since it looks whether its epoch is still current after writing and before linking.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from nonet.atomic import PART, link_new, parts_of, replace_file, sync_file, sync_folder, written_beside
from nonet.home import Home
from nonet.key import SCHEMA, canonical, digest, file_digest

_MEND = "submit the batch again, then `nonet rerun` what failed"


class Published(StrEnum):
    """What became of a publish."""

    COMMITTED = "committed"
    ALREADY = "already committed"
    STALE = "stale"  # a newer epoch has begun


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
        self._verified: set[tuple[str, int, int]] = set()

    def committed(self, scope: str) -> frozenset[str]:
        """Keys with a commit record in `scope`; a directory listing, nothing is verified."""
        try:
            names = os.listdir(self.home.commits(scope))
        except FileNotFoundError:
            return frozenset()
        return frozenset(name[:-5] for name in names if name.endswith(".json") and not name.startswith(PART))

    def has(self, scope: str, key: str) -> bool:
        return self._record(scope, key).exists()

    def read(self, scope: str, key: str, *, afresh: bool = False) -> Commit | None:
        """The verified commit, None when there is none; raises DamagedError after setting a damaged one aside.

        Files are hashed once for each state that this process has seen of them, `afresh` in any case.
        """
        if afresh:
            self._verified.clear()
        path = self._record(scope, key)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            commit = _parse(raw, scope, key)
            for stored in commit.files.values():
                self._verify(stored)
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            self.set_aside(scope, key)
            raise DamagedError(f"{path}: {error}; set aside, it will be computed again") from error
        return commit

    def record(self, scope: str, key: str) -> Commit | None:
        """The commit as its record tells it, its files unseen (an adapter's are large); None when there is none, or
        a damaged one, which is left for `read` to set aside."""
        try:
            return _parse(self._record(scope, key).read_bytes(), scope, key)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def set_aside(self, scope: str, key: str) -> None:
        """Move the commit record of `key` into quarantine; its files stay where they are for a look."""
        target = self.home.quarantine / f"{scope}.{key}.{uuid.uuid4().hex}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            os.rename(self._record(scope, key), target)

    def staging(self, key: str, epoch: int) -> Path:
        """A new empty folder, on the same storage, in which the files of `key` can be written."""
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
        published = self._commit(self._record(scope, key), canonical(record), epoch, current)
        if published is not Published.COMMITTED and folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return published

    def fence(self, scope: str, key: str, epoch: int) -> None:
        """Bar every epoch of `key` before `epoch` from publishing, and remove what those tries left behind.

        To be called once `epoch` has begun, before it writes anything. Files that a commit names stay, and so do
        those of commits that were set aside.
        """
        for part in parts_of(self._record(scope, key)):
            if int(part.name.rsplit("-", 2)[1]) < epoch:
                part.unlink(missing_ok=True)
        self._remove_staging(scope, key, epoch)

    def sweep(self, scope: str, keys: Iterable[str]) -> None:
        """Remove what killed tries at `keys` left behind, where they are committed: nobody can publish them again."""
        done = self.committed(scope).intersection(keys)
        for part in self.home.commits(scope).glob(f"{PART}*"):
            if part.name.removeprefix(PART).partition(".json-")[0] in done:
                part.unlink(missing_ok=True)
        for key in done:
            self._remove_staging(scope, key, sys.maxsize)

    def path(self, stored: StoredFile) -> Path:
        return self.home.root / stored.path

    def put_input(self, data: bytes) -> str:
        """Store `data` under its SHA-256 and return that; twice is one file, a damaged one is mended."""
        name = digest(data)
        path = self.home.input(name)
        if not path.exists() or file_digest(path) != name:
            replace_file(path, data)
        return name

    def read_input(self, name: str) -> bytes:
        """The content stored as `name`; raises DamagedInputError when it is gone or not what was stored."""
        try:
            data = self.home.input(name).read_bytes()
        except FileNotFoundError:
            raise DamagedInputError(f"{self.home.input(name)} is gone; {_MEND}") from None
        if digest(data) != name:
            raise DamagedInputError(f"{self.home.input(name)}: content does not match its name; {_MEND}")
        return data

    def _commit(self, path: Path, data: bytes, epoch: int, current: Callable[[], bool]) -> Published:
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

    def _remove_staging(self, scope: str, key: str, before: int) -> None:
        try:
            folders = [f for f in self.home.blob(key).iterdir() if int(f.name.split("-")[0]) < before]
        except FileNotFoundError:
            return
        if not folders:
            return
        named = b""
        for record in (self._record(scope, key), *self.home.quarantine.glob(f"{scope}.{key}.*.json")):
            with suppress(FileNotFoundError):
                named += record.read_bytes()
        for folder in folders:
            if folder.name.encode() not in named:
                shutil.rmtree(folder, ignore_errors=True)

    def _record(self, scope: str, key: str) -> Path:
        return self.home.commits(scope) / f"{key}.json"

    def _stored_files(self, folder: Path) -> dict[str, StoredFile]:
        files = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            sync_file(path)
            relative = path.relative_to(self.home.root).as_posix()
            files[path.relative_to(folder).as_posix()] = StoredFile(relative, path.stat().st_size, file_digest(path))
        sync_folder(folder)
        sync_folder(folder.parent)
        return files

    def _verify(self, stored: StoredFile) -> None:
        """Checks size and SHA-256, once for each state of the file that this process has seen."""
        path = (self.home.root / stored.path).resolve()
        if not path.is_relative_to(self.home.root.resolve()):
            raise ValueError(f"{stored.path}: outside the home")
        status = path.stat()
        seen = (stored.path, status.st_mtime_ns, status.st_size)
        if seen in self._verified:
            return
        if status.st_size != stored.size or file_digest(path) != stored.sha256:
            raise ValueError(f"{stored.path}: content does not match its checksum")
        self._verified.add(seen)


def _parse(raw: bytes, scope: str, key: str) -> Commit:
    record = json.loads(raw)
    checksum = record.pop("sha256")
    if digest(canonical(record)) != checksum:
        raise ValueError("the record does not match its checksum")
    if record["key"] != key or record["scope"] != scope:
        raise ValueError(f"the record is that of {record['scope']}/{record['key']}")
    files = {name: StoredFile(**stored) for name, stored in record["files"].items()}
    return Commit(scope, key, record["epoch"], files, record["body"])
