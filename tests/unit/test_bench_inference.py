"""What the table of bench.inference says of given timings."""

from __future__ import annotations

from bench.inference import Timing, arguments, table


def timing(arm: str, members: int, seconds: float, start: float = 10.0, memory: int = 2**30) -> Timing:
    return Timing(arm, members, 4, seconds, start, 4, 1e9 * seconds, 4e9, memory)


def test_ratios_are_of_medians_and_say_whether_bars_are_met() -> None:
    timings = [timing("N", 9, seconds) for seconds in (30, 100, 36)] + [timing("O2", 9, s) for s in (6, 10, 9)]
    lines = list(table(timings, "cpu"))
    assert lines[0] == "| questions a stem | members | O2 over N |"
    assert lines[2] == "| 4 | 9 | 4.00 (bar 4: met) |"
    slower = [*timings, timing("O2", 9, 9.1), timing("O2", 9, 9.1), timing("O2", 9, 9.1)]
    assert list(table(slower, "cpu"))[2] == "| 4 | 9 | 3.96 (bar 4: NOT MET) |"
    assert list(table(slower, "cuda"))[2] == "| 4 | 9 | 3.96 |", "the bars are a CPU's"


def test_every_member_of_u_has_a_start_and_all_of_o1_one() -> None:
    lines = list(table([timing("U", 9, 90, start=20), timing("O1", 9, 80, start=10)], "cpu"))
    assert lines[0] == "| questions a stem | members | O1 over U, with starts | O1 over U |"
    assert lines[2] == f"| 4 | 9 | {(90 + 180) / (80 + 10):.2f} (bar 2: met) | {90 / 80:.2f} |"


def test_an_arm_is_told_in_milliseconds_a_prompt_of_a_member() -> None:
    (line,) = [
        line for line in table([timing("O2", 3, 6), timing("O2", 3, 12), timing("O2", 3, 9)], "cpu") if "O2" in line
    ]
    assert line == "| 4 | 3 | O2 | 750.0 | 1000.0 | 10.0 | 25% | 1024 | 3 |"


def test_all_arms_and_sizes_of_the_issue_unless_told_otherwise() -> None:
    told = arguments([])
    assert (told.arms, told.members, told.questions) == (["N", "R", "U", "O1", "O2", "O3"], [1, 3, 9], [1, 2, 4, 6])
    assert told.rounds >= 5
