"""How the command ends: every expected error is a sentence with its exit code, anything else a traceback and 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
import redis
from kombu.exceptions import OperationalError
from pydantic import ValidationError

from cli.errors import RefusedError, explain
from cli.exit_codes import MEANINGS, OF_PHASE, ExitCode
from config.settings import NoFleetError, NoStackError, Settings
from nonet.bases.fingerprint import NoBaseError
from nonet.questions.defect import Defect, DefectsError
from nonet.stores.storage import DamagedError
from nonet.voting.vote import MissingBallotsError
from scheduler.state import Phase
from workers.redis_server import NoRedisError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DefectsError([Defect("f", "line 1", "v", "wrong", "Mend it.")]), ExitCode.BAD_INPUT),
        (NoBaseError("no base"), ExitCode.BAD_INPUT),
        (MissingBallotsError({}, "missing"), ExitCode.BLOCKED),
        (NoFleetError("none"), ExitCode.NO_FLEET),
        (NoStackError("none"), ExitCode.NO_FLEET),
        (NoRedisError("none"), ExitCode.NO_FLEET),
        (redis.ConnectionError("refused"), ExitCode.NO_FLEET),
        (redis.AuthenticationError("invalid"), ExitCode.NO_FLEET),
        (OperationalError("refused"), ExitCode.NO_FLEET),
        (DamagedError("set aside"), ExitCode.STORAGE),
        (OSError(28, "No space left on device"), ExitCode.STORAGE),
        (RefusedError("no such run", ExitCode.NOT_FOUND), ExitCode.NOT_FOUND),
        (click.UsageError("no such option"), ExitCode.USAGE),
    ],
)
def test_expected_errors_have_a_sentence_and_a_code(error: Exception, code: ExitCode) -> None:
    explained = explain(error)
    assert explained is not None
    assert explained[1] is code
    assert explained[0]


def test_what_nobody_expected_is_a_defect() -> None:
    assert explain(RuntimeError("?")) is None
    assert explain(KeyError("?")) is None


def test_a_wrong_setting_is_named_and_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NONET_THREADS", "many")
    with pytest.raises(ValidationError) as caught:
        Settings()
    explained = explain(caught.value)
    assert explained is not None
    assert explained[0].startswith("NONET_THREADS: ")
    assert "'many'" in explained[0]


def test_every_code_has_a_meaning_and_every_phase_a_code() -> None:
    assert set(MEANINGS) == set(ExitCode)
    assert set(OF_PHASE) == set(Phase)
    assert len({code.value for code in ExitCode}) == len(ExitCode)


def nonet(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=ROOT,
        env=os.environ | {"NONET_HOME": str(tmp_path / "home")} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_lists_commands_and_exit_codes(tmp_path: Path) -> None:
    done = nonet(tmp_path, "--help")
    assert done.returncode == 0
    for word in ("submit", "rerun", "flower", "Exit codes", "130"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["status"], {}, ExitCode.NOT_FOUND, "no run under"),
        (["statu"], {}, ExitCode.USAGE, "No such command 'statu'"),
        (["plan"], {}, ExitCode.USAGE, "Missing argument 'BATCH'"),
        (["plan", "missing.yaml"], {}, ExitCode.BAD_INPUT, "missing.yaml"),
        (["scheduler"], {}, ExitCode.NO_FLEET, "NONET_REDIS_URL is not set"),
        (["scheduler"], {"NONET_REDIS_URL": "nowhere"}, ExitCode.USAGE, "NONET_REDIS_URL"),
        (["worker", "--queues", "gpu"], {}, ExitCode.USAGE, "train, infer, cpu"),
        (["worker", "--name", "../x"], {}, ExitCode.USAGE, "'../x'"),
        (["flower", "--address", "0.0.0.0"], {}, ExitCode.USAGE, "needs a login"),
        (["status"], {"NONET_LEASE_SECONDS": "-1"}, ExitCode.USAGE, "NONET_LEASE_SECONDS"),
    ],
)
def test_mistakes_end_with_a_sentence_and_no_traceback(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], code: ExitCode, said: str
) -> None:
    done = nonet(tmp_path, *arguments, **environment)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m cli schema | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
