"""Lines of attempts' logs: written, read, and those of before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nonet.log_line import LogLine, artifact_names, read_line, written_line


def test_a_line_names_its_time_run_and_artifact() -> None:
    line = written_line("small-4f1c2ab9", "all/test-000", "training 3/40\n", 1e9)
    assert line == "2001-09-09T01:46:40Z small-4f1c2ab9 all/test-000 | training 3/40\n"
    assert read_line(line) == LogLine("training 3/40", "2001-09-09T01:46:40Z", "small-4f1c2ab9", "all/test-000")


@given(st.text().filter(lambda text: "\n" not in text and "\r" not in text))
def test_whatever_was_written_is_read(text: str) -> None:
    assert read_line(written_line("r", "a,b+1", text, 0.0)).text == text.rstrip()


def test_other_lines_are_all_text() -> None:
    assert read_line("Traceback (most recent call last):\n") == LogLine("Traceback (most recent call last):")
    assert read_line("") == LogLine("")


def test_large_groups_are_counted() -> None:
    assert artifact_names(["a"]) == "a"
    assert artifact_names(["a", "b", "c"]) == "a,b,c"
    assert artifact_names([f"m{n}/test-000" for n in range(9)]) == "m0/test-000,m1/test-000,m2/test-000+6"
