"""Defects: file, place, value and remedy, all of them in one message."""

from __future__ import annotations

from nonet.questions.defect import Defect, DefectsError, shown


def test_a_defect_reads_as_one_line() -> None:
    defect = Defect("rows.jsonl", "line 3, id", "'x'", "duplicate id", "Rename it.")
    assert str(defect) == "rows.jsonl: line 3, id: duplicate id (found 'x'). Rename it."
    assert str(Defect("f", "line 1", "", "empty", "Fill it.")) == "f: line 1: empty. Fill it."


def test_an_error_shows_all_and_counts_by_file() -> None:
    defects = [Defect(file, f"line {at}", "", "bad", "Mend it.") for file, at in [("a", 1), ("b", 2), ("b", 3)]]
    lines = str(DefectsError(defects)).splitlines()
    assert lines == ["3 defects: 1 in a, 2 in b", *map(str, defects)]
    assert DefectsError(defects).defects == tuple(defects)


def test_a_shown_value_is_one_short_line() -> None:
    assert shown("a\nb") == "'a\\nb'"
    long = shown("甲" * 500 + "末")
    assert len(long) == 80
    assert long.endswith("末'")
