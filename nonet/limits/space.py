"""Space on storage: whether there is enough of it to begin anything. Knows the file system, not what is stored."""

from __future__ import annotations

import os
from pathlib import Path

_MIB = 2**20


def shortage(folder: Path, reserve: int) -> str | None:
    """What to tell people when fewer than `reserve` bytes are free under `folder`, None when there are as many.

    The sentence stays the same while the shortage lasts. A folder that does not exist yet counts as its parent.
    Raises OSError.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    status = os.statvfs(folder)
    if status.f_bavail * status.f_frsize >= reserve:
        return None
    return (
        f"less than {reserve / _MIB:.0f} MiB (NONET_RESERVE) are free under {folder}: nothing new is begun; "
        "make room, and work goes on by itself"
    )
