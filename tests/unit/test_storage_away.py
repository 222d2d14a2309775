"""A storage that is full or away: waited for, noticed before it is full, and not tried hot."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from nonet.limits.space import shortage
from nonet.runs.attempt import Attempt, ErrorClass, Outcome
from scheduler.rest import LONGEST, Rests
from scheduler.state import UnitState, UnitStatus
from tasks import waiting
from tasks.waiting import when_stored


class Sick:
    """An action that fails some times."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)

    def __call__(self) -> str:
        if self.errors:
            raise OSError(self.errors.pop(0), "sick")
        return "stored"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PAUSE_SECONDS", 0.0)


def test_what_is_full_or_away_is_waited_for() -> None:
    assert when_stored(Sick(errno.ENOSPC, errno.ENOSPC, errno.EROFS, errno.ESTALE), lambda: False) == "stored"


def test_other_errors_are_not_waited_for() -> None:
    with pytest.raises(FileNotFoundError):
        when_stored(Sick(errno.ENOENT), lambda: False)


def test_a_worker_that_is_told_to_stop_waits_no_longer() -> None:
    with pytest.raises(OSError, match="sick"):
        when_stored(Sick(errno.ENOSPC), lambda: True)


def test_a_shortage_says_what_to_do_and_does_not_change(tmp_path: Path) -> None:
    assert shortage(tmp_path / "not" / "yet", 0) is None
    short = shortage(tmp_path, 2**60)
    assert short is not None
    assert "NONET_RESERVE" in short
    assert short == shortage(tmp_path, 2**60)


def unit(attempts: int, error: ErrorClass = ErrorClass.STORAGE, state: UnitState = UnitState.READY) -> UnitStatus:
    last = Attempt("k", attempts, "h", "w", "r", "log", 1, 0.0, Outcome.FAILED, error, "sick", 0.0)
    return UnitStatus("name", "k", "scope", state, attempts, last)


def test_rests_grow_with_the_tries_and_end() -> None:
    rests = Rests()
    assert rests.resting([unit(1)], 100.0) == {"k"}
    assert rests.resting([unit(1)], 101.0) == frozenset()
    assert rests.resting([unit(3)], 200.0) == {"k"}
    assert rests.resting([unit(3)], 203.9) == {"k"}
    assert rests.resting([unit(3)], 204.0) == frozenset()
    assert rests.resting([unit(50)], 300.0) == {"k"}
    assert rests.resting([unit(50)], 300.0 + LONGEST) == frozenset()


def test_only_storage_errors_rest() -> None:
    assert Rests().resting([unit(1, ErrorClass.ENGINE), unit(1, state=UnitState.FAILED)], 0.0) == frozenset()
