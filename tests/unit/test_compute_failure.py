"""Which class of error an exception is."""

from __future__ import annotations

import errno

import pytest

from nonet.compute.failure import BadInputError, error_class, input_file, message
from nonet.engines import EngineError
from nonet.runs.attempt import ErrorClass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), ErrorClass.OUT_OF_MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ErrorClass.OUT_OF_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), ErrorClass.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), ErrorClass.OUT_OF_MEMORY),
        (SystemError("error return without exception set"), ErrorClass.OUT_OF_MEMORY),
        (SystemError("bad argument to internal function"), ErrorClass.ENGINE),
        (OSError(errno.ENOSPC, "No space left on device"), ErrorClass.STORAGE),
        (PermissionError(errno.EACCES, "Permission denied"), ErrorClass.STORAGE),
        (FileNotFoundError(errno.ENOENT, "No such file"), ErrorClass.BAD_INPUT),
        (FileNotFoundError(errno.ENOENT, "No such file", f"{__file__}.not"), ErrorClass.BAD_INPUT),
        (FileNotFoundError(errno.ENOENT, "No such file", f"{__file__}.not/checkpoints/key"), ErrorClass.STORAGE),
        (BadInputError("no examples"), ErrorClass.BAD_INPUT),
        (ArithmeticError("the loss is nan"), ErrorClass.BAD_INPUT),
        (EngineError("no reply"), ErrorClass.ENGINE),
        (RuntimeError("CUDA error: an illegal memory access"), ErrorClass.ENGINE),
        (KeyError("x"), ErrorClass.ENGINE),
    ],
)
def test_class(error: BaseException, kind: ErrorClass) -> None:
    assert error_class(error) is kind


def test_message_is_never_empty() -> None:
    assert message(ValueError("what")) == "what"
    assert message(MemoryError()) == "MemoryError"


def test_input_file_names_what_is_missing() -> None:
    assert input_file(__file__, "examples") == __file__
    with pytest.raises(FileNotFoundError):
        input_file("nowhere/at/all", "examples")
    with pytest.raises(BadInputError, match="nowhere: there is no file of examples here"):
        input_file("nowhere", "examples")
