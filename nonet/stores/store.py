"""The contract of a store: what every place that can hold a home promises. Knows no place itself.

Whatever is given or returned as a path lies under `root`, a folder of this machine. In a POSIX store that folder is
the storage itself; for an object store it is this machine's cache, and a path's name below it is the object's key.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

Stamp = tuple[int | str, ...]
"""What changes when a file does: another stamp means another look."""


class Published(StrEnum):
    """What became of a publish."""

    COMMITTED = "committed"
    ALREADY = "already committed"
    STALE = "stale"  # a newer epoch has begun


class Store(ABC):
    """Files under one root. Safe for any number of processes on any number of machines; methods raise OSError.

    What `create`, `replace` or `commit` has put is seen whole or not at all, at once, from every machine, and stays.
    """

    look_seconds: ClassVar[float]
    """How often running work may ask the store how things stand, and write there what may be lost."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is, for people and for NONET_HOME."""

    @abstractmethod
    def place(self, path: Path) -> str:
        """Where what has this path lies, for people."""

    # Small files, each written in one step.

    @abstractmethod
    def read(self, path: Path, start: int = 0) -> bytes:
        """The content of a file, from byte `start` on; raises FileNotFoundError."""

    @abstractmethod
    def exists(self, path: Path) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def holds(self, folder: Path) -> bool:
        """Whether there is such a folder; an object store has those only that something lies in."""

    @abstractmethod
    def names(self, folder: Path) -> list[str]:
        """The names of the files and folders in `folder`, none where it does not exist; unfinished ones left out."""

    @abstractmethod
    def stamp(self, path: Path) -> Stamp:
        """The stamp of a file; raises FileNotFoundError."""

    @abstractmethod
    def modified(self, path: Path) -> float:
        """When a file was written last, in seconds since 1970 on the store's clock; raises FileNotFoundError."""

    @abstractmethod
    def create(self, path: Path, data: bytes) -> bool:
        """Put `data` at `path` unless something is there; True when this call created it."""

    @abstractmethod
    def replace(self, path: Path, data: bytes) -> None:
        """Put `data` at `path`, over whatever is there."""

    @abstractmethod
    def delete(self, path: Path) -> None:
        """Remove a file, if there is one."""

    # Commit records: created once, by the latest epoch only.

    @abstractmethod
    def commit(self, path: Path, data: bytes, epoch: int, current: Callable[[], bool]) -> Published:
        """Create the record `path`, unless one stands, `current` says no, or a newer epoch's fence came first.

        `current` is asked after everything else is ready; a fence of a newer epoch that begins after its answer makes
        this STALE, however long this process stands still meanwhile.
        """

    @abstractmethod
    def fence(self, path: Path, epoch: int) -> None:
        """Bar the commits of the record `path` that epochs before `epoch` have under way."""

    @abstractmethod
    def set_aside(self, path: Path, target: Path) -> None:
        """Move the record `path` to `target`, if there is one."""

    # Files and folders that a process of this machine writes or reads by itself.

    @abstractmethod
    def put_folder(self, folder: Path) -> None:
        """Make every file below `folder` durable and visible to all machines. Not in one step: a record names them."""

    @abstractmethod
    def share(self, path: Path) -> None:
        """Bring a growing file, or a folder that changes, as it is now to where other machines see it."""

    @abstractmethod
    def fetch(self, path: Path, *, afresh: bool = False) -> Path:
        """Have the file at `path` on this machine, a copy kept from earlier unless `afresh`; FileNotFoundError."""

    @abstractmethod
    def fetch_folder(self, folder: Path) -> None:
        """Have what was shared of `folder`, if anything, on this machine."""

    @abstractmethod
    def remove_folder(self, folder: Path) -> None:
        """Remove `folder` with all that is in it, as far as possible."""

    @abstractmethod
    def sweep(self, folder: Path, names: Collection[str] | None = None) -> None:
        """Remove what killed writers of the files `names` (None: of any) in `folder` left half written."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Bytes free where this machine writes: in the storage itself, or in the cache of an object store."""

    @abstractmethod
    def shortage(self, reserve: int) -> str | None:
        """What to tell people when fewer than `reserve` bytes are free, None when there are as many."""
