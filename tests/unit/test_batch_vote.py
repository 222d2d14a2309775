"""The batch file's vote and its option orders: what is read, and what cannot be held as written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from config.batch import Batch, InferenceSpec, load_batch
from nonet.questions.defect import DefectsError
from nonet.voting.vote import VoteSpec
from tests.cli_home import write_files

Load = Callable[..., Batch]
VALIDATION = "validation: {source: official, fraction: 0.5, seed: 0}\n"
STOPS = ("shard_size: 2", "stop_when_decided: true")


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load the batch of `tests.cli_home` with some pieces of its text replaced."""
    path = write_files(tmp_path)

    def load_changed(*changes: tuple[str, str]) -> Batch:
        text = path.read_text("utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text, "utf-8")
        return load_batch(path)

    return load_changed


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("method: soft-calibrated, members: 1, select: greedy", VoteSpec("soft-calibrated", 1, "greedy")),
        ("method: weighted", VoteSpec("weighted", weights="log-odds")),
        ("method: weighted, weights: accuracy", VoteSpec("weighted", weights="accuracy")),
        ("method: soft, select: [more, gold]", VoteSpec("soft", select=("more", "gold"))),
    ],
)
def test_a_vote_by_each_method(load: Load, written: str, read: VoteSpec) -> None:
    assert load(("select: all", written)).vote == read


def test_a_run_may_stop_when_decided(load: Load) -> None:
    (base,) = load(STOPS, ("select: all", "method: weighted")).bases
    assert base.inference.stop_when_decided


def test_texts_may_be_sampled(load: Load) -> None:
    (base,) = load(("shard_size: 2", "answer: text, samples: 3, token_budget: 200")).bases
    found = base.inference
    assert (found.samples, found.temperature, found.token_budget) == (3, 0.7, 200)


def test_option_orders_are_a_setting_of_the_inference(load: Load) -> None:
    (base,) = load(("shard_size: 2", "permutations: 3")).bases
    assert base.inference == InferenceSpec("auto", 100, "letter", 1, 3)


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ([("shard_size: 2", "permutations: 0")], "inference.permutations", "must be at least 1"),
        ([("shard_size: 2", "permutations: 11")], "inference.permutations", "must be at most 10"),
        ([("shard_size: 2", "permutations: 4, answer: text")], "inference.permutations", "no log-probabilities"),
        ([(VALIDATION, ""), ("select: all", "select: greedy")], "vote.select", "there is no validation to select by"),
        ([(VALIDATION, ""), ("select: all", "method: weighted")], "vote.method", "no validation to fit it on"),
        ([(VALIDATION, ""), ("select: all", "method: soft-calibrated")], "vote.method", "no validation to fit it on"),
        ([("shard_size: 2", "answer: text"), ("select: all", "method: soft")], "vote.method", "no log-probabilities"),
        ([("shard_size: 2", "samples: 3")], "inference.samples", "a letter is not sampled"),
        ([("shard_size: 2", "temperature: 0.7")], "inference.temperature", "a letter is not sampled"),
        ([("shard_size: 2", "token_budget: 90")], "inference.token_budget", "a letter is not sampled"),
        (
            [("shard_size: 2", "answer: text, samples: 2, temperature: 0")],
            "inference.temperature",
            "all 2 samples are the same",
        ),
        ([STOPS, ("select: all", "method: soft")], "inference.stop_when_decided", "the last one could change it"),
        ([STOPS, ("select: all", "allow_partial: true, quorum: 2")], "inference.stop_when_decided", "a partial vote"),
        ([("select: all", "method: sft")], "vote.method", "must be 'majority', 'weighted'"),
        ([("select: all", "weights: accuracy")], "vote.weights", "weighs nobody by validation"),
        ([("select: all", "select: greedy, members: 4")], "vote.members", "only 3 can vote"),
    ],
)
def test_what_cannot_be_held_is_refused(load: Load, changes: list[tuple[str, str]], key: str, message: str) -> None:
    with pytest.raises(DefectsError) as caught:
        load(*changes)
    (defect,) = caught.value.defects
    assert key in defect.place
    assert message in defect.message
    assert defect.remedy
