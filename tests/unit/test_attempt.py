"""Attempts and the retry policy: epochs are exclusive, the first outcome stands, history decides what is next."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nonet.runs.attempt import Attempt, Attempts, ErrorClass, Outcome
from nonet.runs.policy import Standing, judge
from nonet.stores.home import Home

KEY = "b" * 64


def begin(attempts: Attempts) -> Attempt | None:
    log = attempts.home.log(KEY, attempts.latest(KEY) + 1)
    return attempts.begin(KEY, host="h", worker="w", run="r", log=log, group=1)


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    return Attempts(Home(tmp_path))


def test_epochs_count_up_and_end_once(attempts: Attempts) -> None:
    first = begin(attempts)
    assert first is not None
    assert first.epoch == 1
    assert attempts.is_current(KEY, 1)
    assert attempts.end(KEY, 1, Outcome.LOST, ErrorClass.WORKER_LOST, "gone")
    assert not attempts.end(KEY, 1, Outcome.COMMITTED), "the first outcome stands"
    assert not attempts.is_current(KEY, 1)
    second = begin(attempts)
    assert second is not None
    assert second.epoch == 2
    history = attempts.history(KEY)
    assert [a.outcome for a in history] == [Outcome.LOST, None]
    assert history[0].error == "gone"
    assert attempts.tried() == {KEY}


def test_an_epoch_begins_once(attempts: Attempts) -> None:
    """Eight processes that begin at the same moment never share an epoch."""
    with ThreadPoolExecutor(8) as pool:
        begun = [a.epoch for a in pool.map(lambda _: begin(attempts), range(40)) if a is not None]
    assert len(begun) == len(set(begun))
    assert sorted(begun) == [a.epoch for a in attempts.history(KEY)]


def test_older_epoch_is_stale(attempts: Attempts) -> None:
    begin(attempts)
    begin(attempts)
    assert not attempts.is_current(KEY, 1)
    assert attempts.is_current(KEY, 2)


def test_unreadable_record_is_left_out(attempts: Attempts) -> None:
    begin(attempts)
    (attempts.home.attempts(KEY) / "0002.json").write_bytes(b"{")
    assert [a.epoch for a in attempts.history(KEY)] == [1]
    assert attempts.latest(KEY) == 2


def made(epoch: int, outcome: Outcome | None, error_class: ErrorClass | None = None, group: int = 1) -> Attempt:
    return Attempt(KEY, epoch, "h", "w", "r", "log", group, 0.0, outcome, error_class)


LOST = (Outcome.LOST, ErrorClass.WORKER_LOST)
FAILED = (Outcome.FAILED, ErrorClass.ENGINE)
BAD = (Outcome.FAILED, ErrorClass.BAD_INPUT)
FULL = (Outcome.FAILED, ErrorClass.STORAGE)
MEMORY = (Outcome.FAILED, ErrorClass.OUT_OF_MEMORY)
DRAINED = (Outcome.DRAINED, None)
CANCELLED = (Outcome.CANCELLED, None)
COMMITTED = (Outcome.COMMITTED, None)
OPEN = (None, None)


@pytest.mark.parametrize(
    ("history", "standing", "group"),
    [
        ([], Standing.READY, None),
        ([OPEN], Standing.OPEN, None),
        ([BAD], Standing.EXHAUSTED, 1),
        ([FAILED, FAILED], Standing.READY, 1),
        ([FAILED, LOST, FAILED], Standing.EXHAUSTED, 1),
        ([LOST], Standing.READY, 1),
        ([MEMORY], Standing.READY, 1),
        ([MEMORY, MEMORY, MEMORY], Standing.EXHAUSTED, 1),
        ([LOST, LOST, LOST], Standing.EXHAUSTED, 1),
        ([LOST, LOST, OPEN], Standing.OPEN, None),
        ([FULL] * 9, Standing.READY, None),
        ([DRAINED] * 9, Standing.READY, None),
        ([CANCELLED] * 9, Standing.READY, None),
        ([COMMITTED], Standing.READY, None),
    ],
)
def test_policy(history: list[tuple[Outcome | None, ErrorClass | None]], standing: Standing, group: int | None) -> None:
    verdict = judge([made(i, *h) for i, h in enumerate(history, 1)], pardoned=0, limit=3)
    assert verdict.standing is standing
    assert verdict.group == group


def test_out_of_memory_halves_the_group_and_counts_only_alone() -> None:
    history: list[Attempt] = []
    for group, allowed in ((12, 6), (6, 3), (3, 1)):
        history.append(made(len(history) + 1, *MEMORY, group))
        verdict = judge(history, pardoned=0, limit=3)
        assert (verdict.standing, verdict.group) == (Standing.READY, allowed)
    for _ in range(3):
        assert judge(history, pardoned=0, limit=3).standing is Standing.READY
        history.append(made(len(history) + 1, *MEMORY))
    assert judge(history, pardoned=0, limit=3).standing is Standing.EXHAUSTED


def test_pardon_forgives_what_was(attempts: Attempts) -> None:
    for _ in range(3):
        attempt = begin(attempts)
        assert attempt is not None
        attempts.end(KEY, attempt.epoch, Outcome.FAILED, ErrorClass.BAD_INPUT, "x")
    assert judge(attempts.history(KEY), attempts.tries(KEY).pardoned, 3).standing is Standing.EXHAUSTED
    assert attempts.pardon(KEY) == 3
    assert judge(attempts.history(KEY), attempts.tries(KEY).pardoned, 3).standing is Standing.READY
    assert len(attempts.history(KEY)) == 3, "the history stays"
