"""Whether an error says that memory ran out, in the words of Python, the system, torch on a CPU or torch on a GPU."""

from __future__ import annotations

import errno
import sys

_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "can't start new thread",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, so that less at once may do."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
