"""Which end of a run it is, and that settings refuse what is no webhook. The sending: tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from nonet.runs.plan import plan_from_json
from scheduler.ending import ending_of, notice_of
from scheduler.inflight import UnknownInFlight
from scheduler.state import Phase, RunState, StateReader
from tests.cli_home import CliHome, write_files


@pytest.fixture
def here(tmp_path: Path) -> CliHome:
    return CliHome(tmp_path, write_files(tmp_path))


def state_of(here: CliHome, phase: Phase) -> RunState:
    (run,) = here.home.runs.iterdir()
    plan = plan_from_json((run / "plan.json").read_bytes())
    state = StateReader(here.storage, here.attempts, UnknownInFlight(), 3).read(plan)
    assert state.phase is phase
    return state


def test_a_run_that_goes_on_has_no_end(here: CliHome) -> None:
    here.submit()
    assert ending_of(here.storage, state_of(here, Phase.RUNNING)) is None


def test_every_blockage_is_an_end_of_its_own(here: CliHome) -> None:
    plan = here.submit()
    for adapter in plan.adapters:
        here.fail(adapter.key)
    first = ending_of(here.storage, state_of(here, Phase.BLOCKED))
    assert first is not None
    assert first == ending_of(here.storage, state_of(here, Phase.BLOCKED))
    notice = notice_of(here.storage, state_of(here, Phase.BLOCKED), first)
    assert notice["failures"] == len(plan.adapters)
    assert notice["failed"][0]["error_class"] == "bad_input"
    assert "it cannot be, and 2 more" in notice["text"]
    here.call("rerun", "--failed")
    here.fail(plan.adapters[0].key)
    here.fail(plan.adapters[1].key)
    here.fail(plan.adapters[2].key)
    again = ending_of(here.storage, state_of(here, Phase.BLOCKED))
    assert again is not None
    assert again.id != first.id


def test_a_cancelled_run_has_ended(here: CliHome) -> None:
    plan = here.submit()
    here.call("cancel", plan.run)
    ending = ending_of(here.storage, state_of(here, Phase.CANCELLED))
    assert ending is not None
    assert notice_of(here.storage, state_of(here, Phase.CANCELLED), ending)["event"] == "run.cancelled"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "hooks.example.org"])
def test_what_is_no_webhook_is_refused_and_not_shown(here: CliHome, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("NONET_WEBHOOK_URL", url)
    refused = here.call("status")
    assert refused.exit_code == 2
    assert "NONET_WEBHOOK_URL: Value error, a webhook begins with http:// or https://" in refused.stderr
    assert url not in refused.stderr
