"""Adapters in a folder or a pack: which there are, and their files, read with limits. Knows where they lie, not what
is in them; writes nothing and never unpacks an archive.

Three things are read: a folder in peft's format; a folder with such folders in it, as in an unpacked pack; and a pack
of `nonet export` (a plain tar). Of an archive only `…/adapters/<name>/<file>` is looked at, and one that holds a link,
a device, or a path that leads elsewhere is refused as a whole.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from nonet.engines.adapter_files import CONFIG, WEIGHTS
from nonet.stores.key import digest

SUMS = "SHA256SUMS"
"""The checksums of all other files of a pack, as `sha256sum -c` reads them."""
TOLD = "nonet.json"
"""What a pack says of an adapter beside peft's files."""
MOST_BYTES = {CONFIG: 2**20, TOLD: 2**22, WEIGHTS: 2**31, SUMS: 2**22}
"""Largest size of each file that is read."""
MOST_MEMBERS = 100_000
"""Files of an archive."""
FILES = (CONFIG, WEIGHTS, TOLD)
"""Of an adapter."""
Files = dict[str, Callable[[], bytes]]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_PICKLES = ("adapter_model.bin", "adapter_model.pt")


class NotAnAdapterError(ValueError):
    """What was given is no adapter that can be used; the message says where, why and what to do."""


@dataclass(frozen=True, slots=True)
class FoundAdapter:
    """One adapter: its `name` (of its folder), the `place` for people, its `files` by name, read when called, and the
    SHA-256 of those whose pack has it.
    """

    name: str
    place: str
    files: Files
    sums: Mapping[str, str] = field(default_factory=dict)

    def read(self, name: str) -> bytes:
        """A file's content; raises NotAnAdapterError where it is not what its pack's checksums say, OSError."""
        data = self.files[name]()
        if name in self.sums and digest(data) != self.sums[name]:
            raise NotAnAdapterError(
                f"{self.place}: {name} is not what {SUMS} says: it is damaged; fetch the pack again"
            )
        return data

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file as an object, {} where there is none; raises NotAnAdapterError, OSError."""
        if name not in self.files:
            return {}
        try:
            value = json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            raise NotAnAdapterError(f"{self.place}: {name} is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise NotAnAdapterError(f"{self.place}: {name} holds no object")
        return value


def find_adapters(path: Path) -> tuple[FoundAdapter, ...]:
    """Every adapter at `path`, by name; raises NotAnAdapterError where there is none, OSError."""
    found = tuple(_in_folder(path)) if path.is_dir() else tuple(_in_archive(path))
    if not found:
        pickles = [name for name in _PICKLES if (path / name).exists()]
        why = f"{pickles[0]} is a pickle and not read: save it as safetensors" if pickles else f"no {CONFIG} is there"
        raise NotAnAdapterError(f"{path}: {why}; give a folder in peft's format, or a pack of `nonet export`")
    return found


def _in_folder(path: Path) -> Iterator[FoundAdapter]:
    if (path / CONFIG).is_file():
        yield _of_folder(path, {})
        return
    sums = _sums((path / SUMS).read_bytes()) if (path / SUMS).is_file() else {}
    inner = path / "adapters" if (path / "adapters").is_dir() else path
    for folder in sorted(inner.iterdir()):
        if (folder / CONFIG).is_file():
            yield _of_folder(folder, sums.get(folder.name, {}))


def _of_folder(folder: Path, sums: Mapping[str, str]) -> FoundAdapter:
    held = {name: folder / name for name in FILES if (folder / name).is_file()}
    for name, file in held.items():
        _limit(str(folder), name, file.stat().st_size)
    files: Files = {name: file.read_bytes for name, file in held.items()}
    return _complete(folder.resolve().name, str(folder), files, sums)


def _sums(data: bytes) -> dict[str, dict[str, str]]:
    """The SHA-256 of each adapter's files, by adapter and file; lines of other files are left out."""
    found: dict[str, dict[str, str]] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        match [line[:64], *PurePosixPath(line[66:]).parts]:
            case [sha256, "adapters", adapter, name]:
                found.setdefault(adapter, {})[name] = sha256
    return found


def _complete(name: str, place: str, files: Files, sums: Mapping[str, str]) -> FoundAdapter:
    if WEIGHTS not in files:
        raise NotAnAdapterError(f"{place}: {WEIGHTS} is missing; only safetensors are read, no pickles")
    return FoundAdapter(name, place, files, sums)


def _limit(place: str, name: str, size: int) -> None:
    if size > MOST_BYTES[name]:
        raise NotAnAdapterError(f"{place}: {name} has {size:,} bytes, more than the {MOST_BYTES[name]:,} that are read")


def _in_archive(path: Path) -> Iterator[FoundAdapter]:
    try:
        with tarfile.open(path, "r:") as archive:
            members = list(_members(path, archive))
    except tarfile.TarError as error:
        message = f"{path}: not a plain tar ({error}); give a folder in peft's format, or a pack of `nonet export`"
        raise NotAnAdapterError(message) from None
    held: dict[str, Files] = {}
    sums: dict[str, dict[str, str]] = {}
    for member in members:
        match PurePosixPath(member.name).parts:
            case [_, name] if name == SUMS:
                _limit(str(path), name, member.size)
                sums = _sums(_read_member(path, member))
            case [*_, "adapters", folder, name] if name in FILES:
                place = f"{path}: adapters/{folder}"
                if not _NAME.fullmatch(folder):
                    raise NotAnAdapterError(f"{place[:200]}: not a name; use letters, digits, '.', '_', '@' and '-'")
                _limit(place, name, member.size)
                files = held.setdefault(folder, {})
                if name in files:
                    raise NotAnAdapterError(f"{place}: {name} is there twice")
                files[name] = partial(_read_member, path, member)
    for folder, files in sorted(held.items()):
        if CONFIG in files:
            yield _complete(folder, f"{path}: adapters/{folder}", files, sums.get(folder, {}))


def _members(path: Path, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for count, member in enumerate(archive):
        parts = PurePosixPath(member.name).parts
        if member.name.startswith("/") or ".." in parts or not (member.isreg() or member.isdir()):
            what = "leads out of it" if member.isreg() or member.isdir() else "is a link or a device"
            raise NotAnAdapterError(f"{path}: {member.name[:200]!r} {what}: this is no pack of `nonet export`")
        if count >= MOST_MEMBERS:
            raise NotAnAdapterError(f"{path}: more than {MOST_MEMBERS:,} files: this is no pack of `nonet export`")
        if member.isreg():
            yield member


def _read_member(path: Path, member: tarfile.TarInfo) -> bytes:
    with path.open("rb") as file:
        file.seek(member.offset_data)
        data = file.read(member.size)
    if len(data) != member.size:
        raise NotAnAdapterError(f"{path}: it ends within {member.name!r}; fetch it again")
    return data
