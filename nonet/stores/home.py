"""The home: the one place that knows where everything lies on shared storage. Knows paths, and the store that holds
them; reads nothing itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nonet.stores.posix import PosixStore
from nonet.stores.store import Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def checked_name(name: str) -> str:
    """`name` when it is safe as one path component; raises ValueError otherwise."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"{name[:200]!r} is not a name: use letters, digits, '.', '_' and '-', 128 at most")
    return name


@dataclass(frozen=True, slots=True)
class Home:
    """Paths under one root, and the store that every worker of the fleet reaches what lies there through.

    The root of a POSIX store is the storage itself, that of an object store this machine's cache: what is shared is
    read and written through `store`, never at its path.
    """

    root: Path
    elsewhere: Store | None = None
    """The store, where it is not the folder `root` itself."""

    @property
    def store(self) -> Store:
        return self.elsewhere or PosixStore(self.root)

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def run(self, run: str) -> Path:
        return self.runs / checked_name(run)

    def plan(self, run: str) -> Path:
        return self.run(run) / "plan.json"

    def batch_text(self, run: str) -> Path:
        return self.run(run) / "batch.yaml"

    def cancelled(self, run: str) -> Path:
        return self.run(run) / "cancelled.json"

    def submission(self, run: str, name: str) -> Path:
        return self.run(run) / checked_name(name)

    def votes(self, run: str) -> Path:
        return self.run(run) / "votes"

    def pseudo(self, run: str) -> Path:
        """Pseudo-labels of the run's test."""
        return self.run(run) / "pseudo.jsonl"

    def score(self, run: str) -> Path:
        """What the run scored against gold, once somebody had gold."""
        return self.run(run) / "score.json"

    def notice(self, run: str, ending: str) -> Path:
        """What a webhook was told of one end of the run, once it was."""
        return self.run(run) / "notices" / f"{checked_name(ending)}.json"

    def report(self, run: str) -> Path:
        return self.run(run) / "report.html"

    def manifest(self, run: str, submission: str) -> Path:
        """What the submission follows from."""
        return self.submission(run, f"{submission}.manifest.json")

    @property
    def logbook(self) -> Path:
        return self.root / "log.xlsx"

    def input(self, digest: str) -> Path:
        """A jsonl file under the SHA-256 of its content: mix examples, test and validation rows."""
        return self.root / "inputs" / f"{checked_name(digest)}.jsonl"

    def commits(self, scope: str) -> Path:
        """Folder of the commit records of one scope, one file a key."""
        return self.root / "commits" / checked_name(scope)

    @property
    def all_blobs(self) -> Path:
        return self.root / "blobs"

    def blob(self, key: str) -> Path:
        """Folder with one subfolder for each try at writing the files of an artifact."""
        return self.all_blobs / checked_name(key)

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def all_attempts(self) -> Path:
        return self.root / "attempts"

    def attempts(self, key: str) -> Path:
        return self.all_attempts / checked_name(key)

    def checkpoint(self, key: str) -> Path:
        return self.root / "checkpoints" / checked_name(key)

    @property
    def all_progress(self) -> Path:
        return self.root / "progress"

    def progress(self, key: str) -> Path:
        return self.all_progress / f"{checked_name(key)}.json"

    def log(self, key: str, epoch: int) -> Path:
        return self.root / "logs" / checked_name(key) / f"{epoch:04d}.log"

    @property
    def fleet(self) -> Path:
        """What belongs to the processes of `nonet up` on this machine: Redis files, their logs. Never shared."""
        return self.root / "fleet"
