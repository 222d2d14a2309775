"""On a process's PYTHONPATH: kills it (kill -9) at one file operation, once, as NONET_TEST_DIE says.

NONET_TEST_DIE is `<operation>|<before or after>|<part of the target's path>|<mark>`: the operation is a function of
`os` with source and target; the file `mark` is created by the process that dies, so that the next one lives.
"""

from __future__ import annotations

import os
import signal


def _install(order: str) -> None:
    name, moment, place, mark = order.split("|")
    function = getattr(os, name)

    def die() -> None:
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def dying(source: object, target: object, **options: object) -> object:
        meant = place in str(target)
        if meant and moment == "before":
            die()
        done = function(source, target, **options)
        if meant and moment == "after":
            die()
        return done

    setattr(os, name, dying)


if "NONET_TEST_DIE" in os.environ:
    _install(os.environ["NONET_TEST_DIE"])
