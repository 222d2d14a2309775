"""Rates: how messages are measured, and what a storage shows of a run, of earlier ones, and of who is up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nonet.runs.attempt import Attempt, Outcome
from nonet.runs.plan import ADAPTERS, Plan, plan_from_json
from scheduler.rates import Part, RateReader, measures_of, rate_of
from tests.cli_home import CliHome, write_files


def attempt(log: str, started: float, ended: float, group: int = 1, worker: str = "w0") -> Attempt:
    return Attempt(log, 1, "h", worker, "r", log, group, started, Outcome.COMMITTED, None, None, ended)


def test_a_message_is_measured_whole() -> None:
    four = [Part(attempt("m", 0.0, 2.0 + at, 4), 50.0, 1.0) for at in range(4)]
    (found,) = measures_of(four)
    assert (found.units, found.seconds, found.overhead) == (200.0, 4.0, 1.0)
    (part,) = measures_of(four[2:])
    assert (part.units, part.seconds, part.overhead) == (100.0, 2.0, 1.0), "two of four stand for all"
    (joint,) = measures_of([Part(attempt("j", 0.0, 10.0, 2), 100.0, 9.0) for _ in range(2)])
    assert (joint.units, joint.seconds, joint.overhead) == (200.0, 10.0, 0.0), "two trained side by side"
    (old,) = measures_of([Part(attempt("o", 0.0, 4.0), 8.0, None)])
    assert (old.seconds, old.overhead) == (4.0, 0.0)


def test_a_rate_has_its_warm_up_apart() -> None:
    parts = [Part(attempt(f"m{at}", at * 20.0, at * 20.0 + (20 if at == 0 else 11)), 10.0, 10.0) for at in range(5)]
    rate = rate_of(measures_of(parts), "r")
    assert rate is not None
    assert (rate.seconds, rate.overhead, rate.warm_up, rate.count, rate.here) == (1.0, 1.0, 9.0, 5, 5)
    assert rate_of((), "r") is None


@pytest.fixture
def home(tmp_path: Path) -> CliHome:
    return CliHome(tmp_path, write_files(tmp_path))


def make(home: CliHome, plan: Plan, *, worker: str = "w0@here", speed: float = 0.5) -> None:
    """Train all adapters of `plan` and answer its cells: so many seconds a step, a tenth of that a question."""
    at = 1000.0
    for key, scope, units in (
        *((a.key, ADAPTERS, a.steps) for a in plan.adapters),
        *((c.key, c.scope, c.shard.questions) for c in plan.cells),
    ):
        took = units * (speed if scope == ADAPTERS else speed / 10)
        told = (
            {"training": {"steps": units, "resumed_from": None, "seconds": took}}
            if scope == ADAPTERS
            else {"seconds": took}
        )
        home.storage.publish(scope, key, 1, body=told | {"ballots": [], "shard": ""})
        folder = home.home.attempts(key)
        folder.mkdir(parents=True)
        begun = {"key": key, "epoch": 1, "host": "here", "worker": worker, "run": plan.run, "log": key}
        (folder / "0001.json").write_text(json.dumps(begun | {"group": 1, "started": at}))
        end = {"outcome": Outcome.COMMITTED, "error_class": None, "error": None, "ended": at + took + 2.0}
        (folder / "0001.end.json").write_text(json.dumps(end))
        at += took + 2.0


def test_a_run_shows_its_own_rates(home: CliHome) -> None:
    plan = home.submit()
    reader = RateReader(home.storage, home.attempts)
    assert reader.rates(plan, ["w0@here"]).train == {}
    make(home, plan)
    rates = RateReader(home.storage, home.attempts).rates(plan, ["w0@here", "new@here"])
    assert rates.train[""].seconds == pytest.approx(0.5)
    assert rates.answer[""].seconds == pytest.approx(0.05)
    assert rates.answer[""].overhead == pytest.approx(2.0)
    assert (rates.train[""].here, rates.train[""].count) == (3, 3)
    assert rates.warm == {"w0@here"}
    assert rates.elsewhere == ()
    assert RateReader(home.storage, home.attempts).rates(plan, ["other@there"]).elsewhere == ("w0@here",)


def test_an_earlier_run_stands_in_until_the_run_has_rates(home: CliHome) -> None:
    earlier = home.submit()
    make(home, earlier)
    home.batch.write_text(
        home.batch.read_text().replace("shard_size: 2", "shard_size: 3").replace("epochs: 2", "epochs: 3")
    )
    assert home.call("submit", str(home.batch)).exit_code == 0
    (path,) = (run / "plan.json" for run in home.home.runs.iterdir() if run.name != earlier.run)
    plan = plan_from_json(path.read_bytes())
    rates = RateReader(home.storage, home.attempts).rates(plan, ["w0@here"])
    assert (rates.train[""].here, rates.train[""].count, rates.warm) == (0, 3, frozenset())
    assert rates.answer[""].seconds == pytest.approx(0.05)
    make(home, plan, speed=2.0)
    again = RateReader(home.storage, home.attempts).rates(plan, ["w0@here"])
    assert again.train[""].seconds == pytest.approx(2.0)
    assert again.train[""].here == 3


def test_a_run_over_another_recipe_says_nothing(home: CliHome) -> None:
    earlier = home.submit()
    make(home, earlier)
    home.batch.write_text(home.batch.read_text().replace("epochs: 2", "epochs: 2, rank: 64"))
    assert home.call("submit", str(home.batch)).exit_code == 0
    (path,) = (run / "plan.json" for run in home.home.runs.iterdir() if run.name != earlier.run)
    rates = RateReader(home.storage, home.attempts).rates(plan_from_json(path.read_bytes()), ["w0@here"])
    assert (rates.train, rates.answer) == ({}, {})


def test_plan_and_status_tell_the_time_left(home: CliHome) -> None:
    unknown = json.loads(home.call("plan", str(home.batch), "--json").stdout)["forecast"]
    assert (unknown["seconds"], unknown["workers"]) == (None, 0)
    assert unknown["unknown"] == [{"to": "train", "base": ""}, {"to": "answer", "base": ""}]
    assert unknown["no_worker_for"] == ["infer", "train"]
    plan = home.submit()
    assert "time left  none while no worker takes infer and train" in home.call("status", plan.run).stdout
    told = json.loads(home.call("status", plan.run, "--json").stdout)["forecast"]
    assert told == unknown
    make(home, plan)
    home.batch.write_text(home.batch.read_text().replace("epochs: 2", "epochs: 4"))
    planned = home.call("plan", str(home.batch))
    assert "of one worker's work" in planned.stdout
