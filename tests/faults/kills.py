"""Kills at a chosen step: a process of its own that is killed (kill -9) before its n-th call of the named functions."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

FILE_STEPS = ("link", "replace", "unlink", "mkdir", "fsync", "open")
"""Functions of `os` through which the storage is changed."""


def fork() -> int:
    """os.fork, also where the test process has a thread that waits (pytest-xdist's): Python 3.12 warns of that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def in_child(action: Callable[[], None]) -> int:
    """Run `action` in a process of its own; its exit status, negative for a signal."""
    child = fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def dies_at(owner: object, names: tuple[str, ...], step: int, action: Callable[[], object]) -> None:
    """Run `action`, killing this process (kill -9) just before its call number `step` of the named functions."""
    with counted(owner, names, step):
        action()


@contextmanager
def counted(owner: object, names: tuple[str, ...], step: int) -> Iterator[None]:
    left = [step]

    def counting(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(owner, name, counting(getattr(owner, name)))
        yield
