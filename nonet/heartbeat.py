"""The heartbeat file: touched by a process while it is well; health checks look at its age. Knows a path."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def beat(path: Path | None) -> None:
    """Touch `path`; None is no heartbeat. One that cannot be written raises nothing: its age tells that, too."""
    if path is not None:
        with suppress(OSError):
            path.touch()
