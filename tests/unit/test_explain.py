"""`nonet explain` on a home that was made by hand: ballots, tally, level, gold and nearest rows."""

from __future__ import annotations

import json
from math import log
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from nonet.runs.plan import QuestionSet
from nonet.voting.ballot import Ballot
from nonet.voting.vote import Level, Member, VoteSpec, steps_of, tally
from tests.cli_home import CliHome, write_files


@pytest.fixture
def here(tmp_path: Path) -> CliHome:
    return CliHome(tmp_path, write_files(tmp_path))


def test_a_question_is_told_with_ballots_tally_gold_and_nearest_rows(here: CliHome) -> None:
    plan = here.finish({"both": "A", "gold": "A", "more": "B"})
    gold = str(here.folder / "gold.jsonl")
    printed = here.call("explain", plan.run, "t0#1", "--gold", gold)
    assert printed.exit_code == 0, printed.stderr
    for text in ("The stem of t0.", "question 1 of t0?", "C. z", "most votes: A 2, B 1, C 0 → A", "the vote is wrong"):
        assert text in printed.stdout
    whole = json.loads(here.call("explain", plan.run, "t0#1", "--gold", gold, "--json").stdout)
    assert (whole["question"], whole["shard"], whole["gold"], whole["right"]) == ("t0#1", "test-000", "B", False)
    assert {ballot["member"]: ballot["letter"] for ballot in whole["ballots"]} == {
        "both": "A",
        "gold": "A",
        "more": "B",
    }
    assert whole["verdict"] == {
        "letter": "A",
        "level": "majority",
        "margin": pytest.approx(1 / 3, abs=1e-6),
        "votes": {"A": 2, "B": 1},
        "abstentions": 0,
        "missing": 0,
    }
    assert set(whole["nearest"]) == {"both", "gold", "more"}
    assert {row["source"] for row in whole["nearest"]["more"]} == {"extra"}
    assert all(0 < row["similarity"] < 1 for rows in whole["nearest"].values() for row in rows)


def test_gold_of_an_earlier_score_is_used(here: CliHome) -> None:
    plan = here.finish({"both": "A", "gold": "A", "more": "B"})
    assert json.loads(here.call("explain", plan.run, "t1", "--json").stdout)["gold"] is None
    assert here.call("score", plan.run, str(here.folder / "gold.jsonl")).exit_code == 0
    assert json.loads(here.call("explain", plan.run, "t1", "--json").stdout)["gold"] == "C"


def test_a_question_is_named_by_a_unique_beginning(here: CliHome) -> None:
    plan = here.finish({"both": "A", "gold": "A", "more": "B"})
    several = here.call("explain", plan.run, "t0")
    assert several.exit_code == ExitCode.NOT_FOUND
    assert "'t0' may be t0#0, t0#1; give more of it" in several.stderr
    none = here.call("explain", plan.run, "t9#0")
    assert none.exit_code == ExitCode.NOT_FOUND
    assert "its questions are t0#0" in none.stderr


def test_without_a_question_the_closest_are_listed(here: CliHome) -> None:
    plan = here.submit()
    here.train(plan)
    here.answer(plan, {"both": "A", "gold": "C", "more": "C"}, QuestionSet.VALIDATION)
    for cell in plan.cells:
        if cell.shard.set is QuestionSet.TEST:
            first = cell.shard.name == "test-000"
            here.cast(plan, cell, {"both": "A", "gold": "B", "more": "C"}[cell.adapter.name] if first else "A")
    listed = json.loads(here.call("explain", plan.run, "--json").stdout)["questions"]
    assert [(one["question"], one["margin"], one["level"]) for one in listed[:3]] == [
        ("t0#0", 0.0, "member"),
        ("t0#1", 0.0, "member"),
        ("t1#0", 0.0, "member"),
    ]
    assert {one["margin"] for one in listed[3:]} == {1.0}
    printed = here.call("explain", plan.run, "--most", "1")
    assert "nonet explain" in printed.stdout
    assert "t0#1" not in printed.stdout


def test_before_the_vote_the_ballots_at_hand_are_shown(here: CliHome) -> None:
    plan = here.submit()
    here.train(plan)
    here.cast(plan, next(c for c in plan.cells if c.name == "gold/test-000"), "C")
    whole = json.loads(here.call("explain", plan.run, "t1#0", "--json").stdout)
    assert whole["verdict"] is None
    assert "ballots are missing" in whole["gap"]
    assert {ballot["member"]: ballot["answered"] for ballot in whole["ballots"]} == {
        "both": False,
        "gold": True,
        "more": False,
    }
    assert "no verdict yet" in here.call("explain", plan.run, "t1#0").stdout


def ballot(letter: str, *probabilities: float) -> dict[str, Ballot]:
    return {"q": Ballot("q", letter, tuple(log(p) for p in probabilities))}


@pytest.mark.parametrize(
    ("method", "levels"),
    [("majority", [Level.MAJORITY, Level.LOGPROB]), ("soft", [Level.LOGPROB])],
)
def test_steps_end_with_the_verdict(method: str, levels: list[Level]) -> None:
    ballots = {"a": ballot("A", 0.5, 0.3, 0.2), "b": ballot("B", 0.2, 0.7, 0.1)}
    members = (Member("a", 0.5), Member("b", 0.4))
    spec = VoteSpec(method=method)  # type: ignore[arg-type]
    steps = steps_of(("q", "ABC"), ballots, members, spec)
    (verdict,) = tally([("q", "ABC")], ballots, members, spec)
    assert [step.level for step in steps] == levels
    assert steps[-1].left == (verdict.letter,) == ("B",)
    assert verdict.level is steps[-1].level
    if method == "majority":
        assert dict(steps[0].scores) == {"A": 1.0, "B": 1.0, "C": 0.0}
        assert steps[0].left == ("A", "B")
        assert set(steps[1].scores) == {"A", "B"}, "only what was tied goes on"


def test_the_last_level_is_the_order_of_letters() -> None:
    ballots = {"a": {"q": Ballot("q", "C")}, "b": {"q": Ballot("q", "B")}}
    steps = steps_of(("q", "ABC"), ballots, (Member("a"), Member("b")), VoteSpec())
    assert [step.level for step in steps] == [Level.MAJORITY, Level.LOGPROB, Level.MEMBER, Level.LETTER]
    assert (steps[-1].left, dict(steps[-1].scores)) == (("B",), {})
