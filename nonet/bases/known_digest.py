"""Digests of large files that were read before, kept for this user: a base of 20 GB is not read at every `plan`.

Knows a file by path, inode, size and the times of its last change of content and of status, so that any rewrite is
noticed, also one that sets the old time. Knows nothing of bases. Losing the notes costs reading time only.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from nonet.stores.atomic import replace_file
from nonet.stores.key import file_digest

SMALL = 16 * 2**20
"""Bytes below which a file is simply read, once a process."""
MOST = 4096
"""Notes that are kept; the oldest go first."""


def known_digest(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits, from the notes where the file is as it was; raises OSError."""
    status = path.stat()
    stamp = f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"
    name = str(path.resolve())
    if status.st_size < SMALL:
        return _read_digest(name, stamp)
    noted = _notes().get(name)
    if noted is not None and noted[0] == stamp:
        return noted[1]
    found = file_digest(path)
    with suppress(OSError):  # a home that cannot be written costs time, no more
        notes = _notes()
        notes.pop(name, None)
        kept = dict(list(notes.items())[1 - MOST :])
        replace_file(notes_file(), json.dumps({**kept, name: [stamp, found]}).encode())
    return found


@lru_cache(maxsize=MOST)
def _read_digest(name: str, _stamp: str) -> str:
    return file_digest(Path(name))


def notes_file() -> Path:
    """Where the notes are: `nonet/digests.json` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "nonet" / "digests.json"


def _notes() -> dict[str, list[str]]:
    try:
        notes = json.loads(notes_file().read_bytes())
        return {str(name): [str(stamp), str(found)] for name, (stamp, found) in notes.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
