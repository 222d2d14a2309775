"""Flower's configuration: who may reach it, what its lists say. Starts no Flower."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.flower import FlowerSettings, flower_options, readable


@dataclass
class Worker:
    alive: bool


@dataclass
class Task:
    """What Flower's task records have, as far as `readable` looks."""

    state: str
    args: str | None = None
    result: str | None = None
    exception: str | None = None
    worker: Worker | None = None


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost", "127.3.2.1"])
def test_loopback_needs_no_login_and_only_shows(address: str, tmp_path: Path) -> None:
    options = flower_options(FlowerSettings(address=address), 5555, tmp_path)
    assert options["read_only"] is True
    assert options["basic_auth"] == []


@pytest.mark.parametrize("address", ["0.0.0.0", "", "::", "10.0.0.7", "gpu-1.lab"])
def test_any_other_address_needs_one(address: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NONET_FLOWER_AUTH=user:password"):
        flower_options(FlowerSettings(address=address), 5555, tmp_path)
    file = tmp_path / "logins"
    file.write_text("ann:one\n\nbob:t:wo\n")
    settings = FlowerSettings(address=address, auth=SecretStr("eve:three"), auth_file=file)
    options = flower_options(settings, 5555, tmp_path)
    assert options["basic_auth"] == ["eve:three", "ann:one", "bob:t:wo"]
    assert options["read_only"] is False


@pytest.mark.parametrize("login", ["ann", "ann:", ":secret", "x:y,ann"])
def test_half_a_login_is_refused_and_not_shown(login: str) -> None:
    with pytest.raises(ValueError, match="user:password") as caught:
        FlowerSettings(auth=SecretStr(login)).check()
    assert "secret" not in str(caught.value)


def test_options_are_flowers_own(tmp_path: Path) -> None:
    from flower.options import options
    from flower.views.tasks import TASK_COLUMNS

    ours = flower_options(FlowerSettings(), 1, tmp_path)
    for name in ours:
        assert name in options
    assert set(ours["tasks_columns"].split(",")) <= set(TASK_COLUMNS)
    assert ours["persistent"]
    assert ours["db"].startswith(str(tmp_path))


def test_tasks_read_as_work() -> None:
    task = readable(Task("SUCCESS", "(mix=all questions=9)", "{'all/test-000': 'committed', 'b': 'failed: no'}"))
    assert task.args == "mix=all questions=9"
    assert task.result == "all/test-000: committed; b: failed: no"
    assert readable(Task("SUCCESS", None, "{'all/test-0...")).result == "{'all/test-0..."
    assert readable(Task("FAILURE", result="training 1/2", exception="E('no')")).result == "E('no')"


def test_work_of_a_dead_worker_is_lost() -> None:
    assert readable(Task("PROGRESS", worker=Worker(alive=False))).state == "LOST"
    assert readable(Task("PROGRESS", worker=Worker(alive=True))).state == "PROGRESS"
    assert readable(Task("SUCCESS", worker=Worker(alive=False))).state == "SUCCESS"
