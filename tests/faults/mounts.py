"""Mounts over a home: small disks, read-only and missing storage. Knows mount(8); needs root, as CI has."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.paced import NO_MOUNT


@contextmanager
def lost(home: Path, fault: str) -> Iterator[None]:
    """The home read-only, or a read-only empty folder in its place."""
    if fault == "gone":
        with mounted(home, "-t", "tmpfs", "-o", "ro,size=1m", "none"):
            yield
        return
    aside = home.with_name(f"{home.name}-read-only")
    aside.mkdir()
    with mounted(aside, "--bind", str(home)):
        mount("-o", "remount,ro,bind", str(aside))  # where nobody writes: under a writer it would be busy
        with mounted(home, "--bind", str(aside)):
            yield


@contextmanager
def mounted(place: Path, *arguments: str) -> Iterator[None]:
    """Something mounted at `place` for the length of a with block."""
    mount(*arguments, str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"mount {' '.join(arguments)}: {done.stderr}{NO_MOUNT}"
