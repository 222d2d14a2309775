"""Shards by number and by tokens: every problem is in one, in order; rows added at the end leave the first alone."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.batch import drafted
from cli.session import Session
from config.settings import Settings
from nonet.runs.plan import QuestionSet
from scheduler.shards import auto_tokens, by_number, by_tokens
from tests.small_batch import write_batch


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 60))
def test_shards_by_tokens_cover_all_and_hold_no_more_than_they_may(tokens: list[int], most: int) -> None:
    cuts = list(by_tokens(tokens, most))
    assert [at for start, stop in cuts for at in range(start, stop)] == list(range(len(tokens)))
    for start, stop in cuts:
        assert sum(tokens[start:stop]) <= most or stop - start == 1
    for (start, stop), (_, after) in pairwise(cuts):
        assert sum(tokens[start : stop + 1]) > most, "a shard is filled before the next begins"
        assert after > stop


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 50), st.integers(1, 60))
def test_a_row_more_leaves_all_shards_but_the_last_as_they_were(tokens: list[int], more: int, most: int) -> None:
    before, after = list(by_tokens(tokens, most)), list(by_tokens([*tokens, more], most))
    assert after[: len(before) - 1] == before[:-1]


def test_shards_by_number() -> None:
    assert list(by_number(7, 3)) == [(0, 3), (3, 6), (6, 7)]
    assert list(by_number(0, 3)) == []


def test_a_batch_cut_by_tokens_is_another_run_with_the_same_adapters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(Settings(home=str(tmp_path / "home")))
    path = write_batch(tmp_path / "batch")
    by_rows = drafted(session, path)[1].plan
    path.write_text(path.read_text("utf-8").replace("shard_size: 5", "shard_size: auto"), encoding="utf-8")
    whole = drafted(session, path)[1].plan
    assert [(s.set, s.start) for s in whole.shards] == [(QuestionSet.VALIDATION, 0), (QuestionSet.TEST, 0)]
    assert whole.run != by_rows.run
    assert [a.key for a in whole.adapters] == [a.key for a in by_rows.adapters]
    monkeypatch.setattr("scheduler.shards.LEAST_TOKENS", 256)
    smaller = drafted(session, path)[1].plan
    assert len(smaller.shards) > 3
    assert drafted(session, path)[1].plan == smaller
    assert sum(s.questions for s in smaller.shards) == sum(s.questions for s in whole.shards)


@pytest.mark.parametrize(
    ("total", "most"),
    [(0, 2**14), (33_000, 2**14), (400_000, 2**15), (1_048_575, 2**16), (2**20, 2**17), (10**9, 2**17)],
)
def test_a_small_set_is_cut_for_several_workers(total: int, most: int) -> None:
    assert auto_tokens(total) == most
