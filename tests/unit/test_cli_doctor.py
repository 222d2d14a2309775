"""What `nonet doctor` finds on a machine without a fleet."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cli.conditions import info_findings
from cli.doctor import findings
from cli.exit_codes import ExitCode
from cli.finding import Finding, Health
from cli.session import Session
from config.settings import Settings


def looked(tmp_path: Path, **settings: object) -> dict[str, Finding]:
    found = findings(Session(Settings(home=tmp_path / "home", stacks=tmp_path / "stacks", **settings)))  # type: ignore[arg-type]
    return {finding.what.split(" (")[0].split(" /")[0]: finding for finding in found}


def install(tmp_path: Path, stack: str) -> None:
    folder = tmp_path / "stacks" / stack / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)


def test_a_sound_machine_has_nothing_bad(tmp_path: Path) -> None:
    install(tmp_path, "cpu")
    found = looked(tmp_path)
    assert {name for name, finding in found.items() if finding.health is Health.BAD} == set()
    assert "exclusively" in found["storage"].text
    assert found["stack vllm-cpu"].health is Health.WARNING
    assert "nonet up" in found["fleet"].text
    assert list((tmp_path / "home").iterdir()) == []


def test_a_missing_stack_is_named_with_its_remedy(tmp_path: Path) -> None:
    finding = looked(tmp_path)["stack cpu"]
    assert (finding.health, finding.exit_code) == (Health.BAD, ExitCode.NO_FLEET)
    assert "make stack-cpu" in finding.text
    assert looked(tmp_path, engine="vllm")["stack vllm-cpu"].health is Health.BAD


def test_storage_that_cannot_be_written_is_bad(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")
    finding = looked(tmp_path)["storage"]
    assert (finding.health, finding.exit_code) == (Health.BAD, ExitCode.STORAGE)


def test_a_redis_that_does_not_answer_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NONET_REDIS_URL", "redis://:hidden@127.0.0.1:1/0")
    finding = looked(tmp_path)["Redis"]
    assert (finding.health, finding.exit_code) == (Health.BAD, ExitCode.NO_FLEET)
    assert "hidden" not in finding.text


@pytest.mark.parametrize(
    ("told", "what", "remedy"),
    [
        ({"redis_version": "5.0.14"}, "Redis", "too old"),
        ({"maxmemory_policy": "allkeys-lru"}, "Redis eviction", "noeviction"),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "Redis disk", "make room"),
        ({"maxmemory": 16 * 2**20, "used_memory": 16 * 2**20}, "Redis memory", "raise maxmemory"),
    ],
)
def test_conditions_of_the_promises_on_redis(told: dict[str, object], what: str, remedy: str) -> None:
    sound = {"redis_version": "7.0.15", "aof_enabled": 1, "maxmemory_policy": "noeviction"}
    assert all(finding.health is Health.GOOD for finding in info_findings(sound))
    (bad,) = [finding for finding in info_findings(sound | told) if finding.health is Health.BAD]
    assert (bad.what, bad.exit_code) == (what, ExitCode.NO_FLEET)
    assert remedy in bad.text


def test_a_nearly_full_storage_is_bad(tmp_path: Path) -> None:
    install(tmp_path, "cpu")
    finding = looked(tmp_path, reserve=2**60)["free space"]
    assert (finding.health, finding.exit_code) == (Health.BAD, ExitCode.STORAGE)
    assert "NONET_RESERVE" in finding.text
