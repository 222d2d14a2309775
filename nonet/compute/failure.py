"""Failures: which class of error an exception is, for the retry policy. Knows exceptions, not what is retried."""

from __future__ import annotations

import errno
import os
import sys

from nonet.engines import EngineError
from nonet.limits.out_of_memory import is_out_of_memory
from nonet.runs.attempt import ErrorClass


class BadInputError(ValueError):
    """What the order names is missing or cannot be used; the message says where and what to do."""


def error_class(error: BaseException) -> ErrorClass:
    """The class of `error`. A missing input is bad input; any other trouble with files is the storage's, and so is a
    file whose folder is gone, too: a mount went away.
    """
    if is_out_of_memory(error):
        return ErrorClass.OUT_OF_MEMORY
    if isinstance(error, EngineError):
        return ErrorClass.ENGINE
    if isinstance(error, FileNotFoundError) and _folder_is_gone(error.filename):
        return ErrorClass.STORAGE
    if isinstance(error, FileNotFoundError | ValueError | ArithmeticError) or _is_safetensors(error):
        return ErrorClass.BAD_INPUT
    if isinstance(error, OSError):
        return ErrorClass.STORAGE
    return ErrorClass.ENGINE


def message(error: BaseException) -> str:
    """`error` for a person: what it says, or its kind where it says nothing."""
    return str(error).strip() or type(error).__name__


def _folder_is_gone(path: object) -> bool:
    return isinstance(path, str | os.PathLike) and not os.path.isdir(os.path.dirname(os.path.abspath(path)))


def _is_safetensors(error: BaseException) -> bool:
    safetensors = sys.modules.get("safetensors")
    return safetensors is not None and isinstance(error, safetensors.SafetensorError)


def input_file(path: str, what: str) -> str:
    """`path`, where it is a file that can be read; raises BadInputError, FileNotFoundError where its folder is gone."""
    if not os.path.isfile(path):
        if _folder_is_gone(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        raise BadInputError(f"{path}: there is no file of {what} here")
    return path
