"""Pseudo-labels: what is written, what a batch makes of it, and that they cannot leak unseen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.exit_codes import ExitCode
from nonet.questions.mix import Mix, Use, draw
from nonet.questions.problem import Problem, Question
from nonet.questions.rows import read_problems
from nonet.runs.plan import Plan, plan_from_json
from tests.cli_home import CliHome, row, write_files


@pytest.fixture
def here(tmp_path: Path) -> CliHome:
    return CliHome(tmp_path, write_files(tmp_path))


@pytest.fixture
def voted(here: CliHome) -> Plan:
    """A run whose members answer A, A and B, but for the first shard, on which all three answer A."""
    plan = here.submit()
    for cell in plan.cells:
        unanimous = cell.shard.name == "test-000"
        here.cast(plan, cell, "B" if cell.adapter.name == "more" and not unanimous else "A")
    return plan


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_test_comes_back_with_the_votes_answers(here: CliHome, voted: Plan) -> None:
    done = here.call("pseudo", voted.run)
    assert done.exit_code == 0
    path = here.home.pseudo(voted.run)
    entry = done.stdout[done.stdout.index("sources:") :]
    assert yaml.safe_load(entry) == {"sources": {voted.name: {"path": str(path), "labels": "pseudo"}}}
    test = rows_of(here.folder / "test.jsonl")
    found = rows_of(path)
    assert [r["id"] for r in found] == [r["id"] for r in test]
    for made, asked in zip(found, test, strict=True):
        assert made["problem"] == asked["problem"]
        assert made["pseudo"]["run"] == voted.run
        assert len(made["pseudo"]["vote"]) == 64
        assert [q["question"] for q in made["questions"]] == [q["question"] for q in asked["questions"]]
        assert {q["answer"] for q in made["questions"]} == {"A"}
    margins = [q["margin"] for r in found for q in r["questions"]]
    assert margins == [1.0] * 3 + [0.3333] * 3  # t0 and t1 make the first shard
    problems, defects = read_problems(path, labelled=True)
    assert not defects
    assert [p.run for p in problems] == [voted.run] * 4
    assert [q.margin for p in problems for q in p.questions] == margins


def test_what_is_below_the_margin_is_left_out(here: CliHome, voted: Plan) -> None:
    out = here.folder / "sure.jsonl"
    done = here.call("pseudo", voted.run, "--min-margin", "0.5", "--out", str(out))
    assert "3 questions in 2 rows; 3 are below the margin of 0.5" in done.stdout
    assert [(r["id"], [q["index"] for q in r["questions"]]) for r in rows_of(out)] == [("t0", [0, 1]), ("t1", [0])]


def test_nothing_is_written_where_nothing_is_sure_or_ballots_are_missing(here: CliHome, voted: Plan) -> None:
    plan = here.submit()
    cell = next(c for c in plan.cells if c.shard.name == "test-000")
    here.storage.set_aside(cell.scope, cell.key)
    assert here.call("pseudo", plan.run).exit_code == ExitCode.BLOCKED
    here.cast(plan, cell, "B")
    refused = here.call("pseudo", plan.run, "--min-margin", "0.9")
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "0.9" in refused.stderr
    assert not here.home.pseudo(plan.run).exists()


def second_batch(
    here: CliHome, labels: str = "pseudo", use: str = "pseudo", mix: str = "", test: str = "other"
) -> Path:
    """A batch that trains on the pseudo-labels, with a test of its own."""
    other = [row(f"n{index}", "AB", labelled=False) for index in range(2)]
    (here.folder / "other.jsonl").write_text("".join(json.dumps(r) + "\n" for r in other), encoding="utf-8")
    text = here.batch.read_text(encoding="utf-8")
    text = text.replace("name: hand", "name: second").replace("test: test.jsonl", f"test: {test}.jsonl")
    text = text.replace("  extra: ", f"  pseudo: {{path: pseudo.jsonl, labels: {labels}}}\n  extra: ")
    text = text.replace(
        "  more: {use: [extra]}", f"  more: {{use: [extra]}}\n  round2: {{use: [official, {use}]{mix}}}"
    )
    path = here.folder / "second.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def labelled(here: CliHome, voted: Plan) -> CliHome:
    here.call("pseudo", voted.run, "--out", str(here.folder / "pseudo.jsonl"))
    return here


def plan_of(here: CliHome, batch: Path) -> Plan:
    done = here.call("submit", str(batch))
    assert done.exit_code == 0, done.stderr
    return plan_from_json(here.home.plan(done.stdout.partition(":")[0]).read_bytes())


def test_a_mix_uses_and_filters_them_and_the_plan_knows_their_run(labelled: CliHome, voted: Plan) -> None:
    plan = plan_of(labelled, second_batch(labelled, use="{source: pseudo, min_margin: 0.5}"))
    (adapter,) = (a for a in plan.adapters if a.name == "round2")
    (use,) = (u for u in adapter.uses if u.source == "pseudo")
    assert (use.labels, use.rows, use.questions, use.min_margin, use.runs) == ("pseudo", 2, 3, 0.5, (voted.run,))
    assert (use.leaked, adapter.leaked) == (0, 0)
    assert plan_of(labelled, second_batch(labelled)).adapters[-1].questions == adapter.questions + 3


def test_labels_of_a_test_are_refused_in_a_batch_with_that_test(labelled: CliHome) -> None:
    refused = labelled.call("submit", str(second_batch(labelled, test="test")))
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "the mix holds 4 stems of the test" in refused.stderr
    assert "pseudo:t0 = t0" in refused.stderr
    plan = plan_of(labelled, second_batch(labelled, test="test", mix=", allow_leak: true"))
    (use,) = (u for u in plan.adapters[-1].uses if u.source == "pseudo")
    assert (use.leaked, plan.adapters[-1].leaked) == (4, 4)


@pytest.mark.parametrize(
    ("changes", "place", "said"),
    [
        ({"labels": "gold"}, "sources.pseudo.labels", "the row 't0' was answered by the vote of run hand-"),
        ({"use": "pseudo, {source: extra, min_margin: 0.5}"}, "mixes.round2.use[2].min_margin", "has no margins to"),
        ({"use": "{source: pseudo, min_margin: 1.5}"}, "min_margin", "must be at most 1"),
    ],
)
def test_labels_that_are_not_what_they_seem_are_refused(
    labelled: CliHome, changes: dict[str, str], place: str, said: str
) -> None:
    refused = labelled.call("submit", str(second_batch(labelled, **changes)))
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert place in refused.stderr
    assert said in refused.stderr


def test_other_labels_cannot_pass_as_pseudo_labels(labelled: CliHome) -> None:
    batch = second_batch(labelled)
    (labelled.folder / "pseudo.jsonl").write_bytes((labelled.folder / "extra.jsonl").read_bytes())
    refused = labelled.call("submit", str(batch))
    assert "the row 'e0' does not say which run's vote answered it" in refused.stderr


def test_the_validation_cannot_be_split_from_pseudo_labels(labelled: CliHome) -> None:
    batch = second_batch(labelled)
    text = batch.read_text(encoding="utf-8").replace("{source: official, fraction", "{source: pseudo, fraction")
    batch.write_text(text, encoding="utf-8")
    refused = labelled.call("submit", str(batch))
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "its labels are pseudo-labels" in refused.stderr


def test_checked_by_hand_they_may_be_human_labels(labelled: CliHome) -> None:
    plan = plan_of(labelled, second_batch(labelled, labels="human"))
    assert next(u.labels for u in plan.adapters[-1].uses if u.source == "pseudo") == "human"


def test_a_question_without_margin_is_below_every_margin() -> None:
    def question(index: int, sure: float | None) -> Question:
        return Question("p", index, f"q{index}", ("x", "y"), "A", sure)

    problem = Problem("p", "stem", (question(0, 0.5), question(1, None), question(2, 0.4)))
    mix = Mix("m", (Use("s", min_margin=0.5),))
    assert [e.question_id for e in draw(mix, {"s": [problem]})] == ["p#0"]
    assert len(draw(Mix("m", (Use("s"),)), {"s": [problem]})) == 3


@pytest.mark.parametrize("value", ["0.5", True, None, -0.1, 1.1, [1]])
def test_a_field_margin_that_is_none_is_ignored(tmp_path: Path, value: object) -> None:
    made = row("a", "A")
    made["questions"][0]["margin"] = value  # type: ignore[index]
    made["pseudo"] = "not a provenance"
    (tmp_path / "a.jsonl").write_text(json.dumps(made), encoding="utf-8")
    (problem,), defects = read_problems(tmp_path / "a.jsonl", labelled=True)
    assert not defects
    assert (problem.run, problem.questions[0].margin) == (None, None)
