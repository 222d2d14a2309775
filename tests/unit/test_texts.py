"""Free texts: samples, seeds and the budget of tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.engines import Ask, Reply
from nonet.engines.texts import Written, reply_seed, text_ballots, within_budget
from nonet.voting.ballot import AbstentionReason, Ballot, Sample, sampled

ASKS = tuple(Ask(f"p#{at}", (1, 2), "ABCD", (10, 11, 12, 13)) for at in range(2))
SPENT = AbstentionReason.BUDGET_SPENT


def says(letter: str, tokens: int = 10, *, ended: bool = True) -> Written:
    return Written(f"……答案是：{letter}", ended, tokens)


def test_one_reply_a_question_is_a_plain_ballot() -> None:
    found = text_ballots(ASKS, [says("A"), Written("先看", False, 5)], Reply("text", 16))
    assert found == (Ballot("p#0", "A"), Ballot("p#1", None, (), AbstentionReason.CUT_OFF))


def test_samples_stand_in_the_ballot() -> None:
    written = [says("A"), says("C"), says("C"), Written("", True, 0), says("Z"), Written("", True, 0)]
    first, second = text_ballots(ASKS, written, Reply("text", 16, samples=3, temperature=0.7))
    assert (first.letter, first.letters) == ("C", ("A", "C", "C"))
    assert (second.letter, second.reason) == (None, AbstentionReason.EMPTY)
    assert second.samples[1].reason is AbstentionReason.LETTER_OUT_OF_RANGE
    assert [Ballot.from_json(ballot.to_json()) for ballot in (first, second)] == [first, second]


def test_of_equally_common_letters_the_first_given() -> None:
    assert sampled("q#0", [Sample("D"), Sample("B"), Sample("B"), Sample("D")]).letter == "D"
    assert sampled("q#0", [Sample(None, SPENT), Sample("B")]).letter == "B"


def test_what_is_beyond_the_budget_abstains() -> None:
    reply = Reply("text", 16, samples=2, temperature=0.7, budget=20)  # 40 tokens for the two questions
    first, second = text_ballots(ASKS, [says("A", 15), says("A", 15), says("B", 10), says("B", 1)], reply)
    assert first.letters == ("A", "A")
    assert second.letters == ("B", None)
    assert second.samples[1].reason is SPENT
    unwritten = text_ballots(ASKS, [says("A", 41)], reply)
    assert [ballot.reason for ballot in unwritten] == [SPENT, SPENT], "nor does what was not written for want of it"


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 60), st.integers(1, 5))
def test_the_budget_holds_and_is_used(lengths: list[int], budget: int, questions: int) -> None:
    count = within_budget(lengths, Reply("text", 16, budget=budget), questions)
    assert sum(lengths[:count]) <= budget * questions
    assert count == len(lengths) or sum(lengths[: count + 1]) > budget * questions
    assert within_budget(lengths, Reply("text", 16), questions) == len(lengths)


def test_seeds_differ_and_stay() -> None:
    seeds = {reply_seed(a, q, s) for a in ("k1", "k2") for q in ("p#0", "p#1") for s in range(3)}
    assert len(seeds) == 12
    assert reply_seed("k1", "p#0", 0) == 7934531496824735205
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("row", [{"letter": "A"}, ["A"], ["AB", None], ["A", "empty"], [None, None], [None, "tired"]])
def test_what_is_no_sample_is_refused(row: object) -> None:
    with pytest.raises(ValueError, match=r"sample|AbstentionReason"):
        Ballot.from_json({"q": "q#0", "letter": "A", "logprobs": [], "reason": None, "samples": [row]})
