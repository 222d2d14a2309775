"""Nearest training rows: by shared characters, the same each time, in Chinese as in English."""

from __future__ import annotations

import time

import pytest

from nonet.questions.mix import Example
from nonet.questions.nearest import nearest_rows

STEMS = {
    "fence": "甲、乙、丙三人中只有一人说真话。甲说：乙在说谎。",
    "queue": "甲、乙、丙、丁四人排队，甲不在队首，乙在丙之前。",
    "equation": "有一个方程的系数分别为A、B和C，下面是一些已知的规则。",
    "english": "Three friends sit in a row. Ann sits to the left of Bob.",
}


def examples(stems: dict[str, str], source: str = "s") -> tuple[Example, ...]:
    return tuple(
        Example(f"{name}#{index}", stem, "?", ("x", "y"), "AB"[index], source)
        for name, stem in stems.items()
        for index in range(2)
    )


def test_the_same_text_is_nearest_whatever_its_spaces_and_width() -> None:
    found = nearest_rows(" 甲、乙、丙三人中只有一人说真话。\n甲说:乙在说谎。", {"mix": examples(STEMS)}, 2)["mix"]
    assert (found[0].row, found[0].similarity) == ("fence", 1.0)
    assert found[0].letters == {0: "A", 1: "B"}
    assert (found[0].source, found[1].row) == ("s", "queue")
    assert 0 < found[1].similarity < 0.5


def test_rows_without_anything_in_common_are_left_out() -> None:
    assert nearest_rows("ZZZZ", {"mix": examples(STEMS)}, 3) == {"mix": ()}
    assert [row.row for row in nearest_rows("Ann sits beside Bob.", {"mix": examples(STEMS)}, 3)["mix"]] == ["english"]


def test_what_every_row_shares_counts_for_little() -> None:
    stems = {name: f"回答以下选择题：{stem}" for name, stem in STEMS.items()}
    found = nearest_rows(f"回答以下选择题：{STEMS['queue']}", {"mix": examples(stems)}, 4)["mix"]
    assert found[0].row == "queue"
    assert found[-1].similarity < 0.2, "eight of some thirty characters are the same"


def test_a_row_has_one_similarity_in_every_mix_and_of_equals_the_first_comes_first() -> None:
    twice = {"one": STEMS["queue"], "two": STEMS["queue"]}
    found = nearest_rows("甲、乙、丙、丁四人排队。", {"a": examples(STEMS), "b": examples(twice)}, 5)
    assert [row.row for row in found["b"]] == ["one", "two"]
    queue = next(row for row in found["a"] if row.row == "queue")
    assert queue.similarity == found["b"][0].similarity == found["b"][1].similarity


def test_texts_shorter_than_an_n_gram_are_compared_too() -> None:
    assert nearest_rows("甲", {"mix": examples({"a": "甲", "b": "乙"})}, 2)["mix"][0].similarity == 1.0


@pytest.mark.parametrize("rows", [4000])
def test_thousands_of_rows_take_two_seconds_at_most(rows: int) -> None:
    stems = {
        f"r{at}": "".join(chr(0x4E00 + (at * 7919 + k * k * (at % 97 + 1)) % 3000) for k in range(250))
        for at in range(rows)
    }
    begun = time.process_time()
    found = nearest_rows(stems["r17"], {"mix": examples(stems)}, 3)["mix"]
    assert time.process_time() - begun < 2
    assert (found[0].row, found[0].similarity) == ("r17", 1.0)
