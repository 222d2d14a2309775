"""Exit codes of the `nonet` command: the one home of their numbers and meanings. Knows no command."""

from __future__ import annotations

from enum import IntEnum

from scheduler.state import Phase


class ExitCode(IntEnum):
    """What a script can tell from the exit status."""

    DONE = 0
    DEFECT = 1
    USAGE = 2
    BAD_INPUT = 3
    BLOCKED = 4
    GOING = 5
    CANCELLED = 6
    NO_FLEET = 7
    NOT_FOUND = 8
    STORAGE = 9
    DIFFERENT = 10
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "done; of status and watch: the run is complete",
    ExitCode.DEFECT: "a defect of Nonet: please report the traceback",
    ExitCode.USAGE: "the command line or a NONET_* setting is wrong",
    ExitCode.BAD_INPUT: "a batch file, its rows or its base cannot be used",
    ExitCode.BLOCKED: "the run is blocked by failures, or ballots are missing (of vote, score, pseudo: yet)",
    ExitCode.GOING: "the run still goes on",
    ExitCode.CANCELLED: "the run is cancelled",
    ExitCode.NO_FLEET: "no Redis or no fleet to be reached or started",
    ExitCode.NOT_FOUND: "no such run, adapter, shard or artifact",
    ExitCode.STORAGE: "the storage is full, damaged or cannot be reached",
    ExitCode.DIFFERENT: "of diff: the two submissions differ",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}

OF_PHASE = {
    Phase.COMPLETE: ExitCode.DONE,
    Phase.RUNNING: ExitCode.GOING,
    Phase.BLOCKED: ExitCode.BLOCKED,
    Phase.CANCELLED: ExitCode.CANCELLED,
}
