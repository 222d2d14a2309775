"""What commands say to people: what to do next, and counts in good English."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from nonet.plural import counted
from tests.cli_home import CliHome, write_files


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliHome:
    monkeypatch.chdir(tmp_path)
    return CliHome(tmp_path, write_files(tmp_path))


@pytest.mark.parametrize(("count", "said"), [(0, "0 cells"), (1, "1 cell"), (2, "2 cells"), (1200, "1,200 cells")])
def test_counts(count: int, said: str) -> None:
    assert counted(count, "cell") == said


def test_one_of_a_kind_is_no_plural(here: CliHome) -> None:
    text = here.batch.read_text("utf-8")
    lines = [line for line in text.splitlines(keepends=True) if not line.strip().startswith(("gold:", "more:"))]
    here.batch.write_text("".join(lines), encoding="utf-8")
    assert "to train   1 of 1 adapter, " in here.call("plan", str(here.batch), "--no-tokens").stdout


def test_a_failure_is_shown_with_what_to_do(here: CliHome) -> None:
    plan = here.submit()
    here.fail(plan.adapters[1].key)
    told = here.call("status").stdout
    name = plan.adapters[1].name
    assert f"why: nonet logs {plan.run} {name}; once it is mended: nonet rerun {plan.run} --failed" in told


def test_rerun_of_a_cancelled_run_says_that_it_goes_on(here: CliHome) -> None:
    plan = here.submit()
    assert here.call("cancel").exit_code == 0
    again = f"{plan.run}: nothing selected has failed; it was cancelled and is taken up again\n"
    would = again.replace("is taken", "would be taken") + "dry run: nothing was changed\n"
    assert here.call("rerun", "--failed", "--dry-run").stdout == would
    assert here.call("rerun", "--failed").stdout == again
    assert here.call("rerun", "--failed").stdout == f"{plan.run}: nothing selected has failed\n"


def test_gold_alone_scores_the_latest_run(here: CliHome) -> None:
    plan = here.submit()
    here.answer(plan, {"both": "A", "gold": "A", "more": "B"})
    gold = str(here.folder / "gold.jsonl")
    early = here.call("score", gold)
    assert early.exit_code == ExitCode.BLOCKED
    assert f"nonet status {plan.run}" in early.stderr
    for given in ((), (str(here.folder),), ("a", "b", "c")):
        refused = here.call("score", *given)
        assert refused.exit_code == ExitCode.USAGE
        assert "nonet score latest gold.jsonl" in refused.stderr


@pytest.mark.parametrize("command", [("score", "gold.jsonl"), ("vote", "--compare"), ("vote",), ("pseudo",)])
def test_before_the_end_of_a_run_there_is_one_exit_code(here: CliHome, command: tuple[str, ...]) -> None:
    here.submit()
    assert here.call(*command).exit_code == ExitCode.BLOCKED
