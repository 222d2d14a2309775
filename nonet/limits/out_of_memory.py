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
_SILENT = "error return without exception set"
"""What Python says of compiled code that failed without a word: most often it got no memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, so that less at once may do."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, SystemError):
        return _SILENT in str(error)
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
