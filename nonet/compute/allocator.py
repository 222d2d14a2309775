"""How the C library keeps memory that was freed. Knows glibc's mallopt(3) alone."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of mallopt's parameters, from malloc.h."""
KEPT = 256 << 20
"""Bytes of freed memory that stay with the process."""
LARGEST = 32 << 20
"""Bytes up to which memory is taken from what was kept: the most that glibc allows."""


def keep_freed_memory() -> None:
    """Keep what is freed for what comes next, where the C library is glibc.

    Every layer makes and drops tensors of some megabytes. By itself glibc gives them back to the system, which must
    fill each page with zeros when it hands it out again: a tenth of tree scoring over the 40 M shape.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, LARGEST)
        mallopt(_TRIM_THRESHOLD, KEPT)
