"""Flower's configuration: who may reach it, what its lists say. Starts no Flower."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from config.flower import flower_options, readable
from config.flower_login import Doorkeeper, FlowerSettings


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


def test_hashes_other_than_bcrypt_are_refused() -> None:
    with pytest.raises(ValueError, match=r"user ann is a hash other than bcrypt: htpasswd -B") as caught:
        FlowerSettings(auth=SecretStr("ann:$apr1$x$y")).check()
    assert "$apr1" not in str(caught.value)


def asked(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def test_the_doorkeeper_knows_plain_and_hashed_passwords_and_no_hash_opens() -> None:
    import bcrypt

    hashed = bcrypt.hashpw(b"let me in", bcrypt.gensalt(4)).decode()
    keeper = Doorkeeper(("ann:one", f"bob:{hashed}", "bob:t:wo", "eve:$2b$broken"))
    for right in ("ann:one", "bob:let me in", "bob:let me in", "bob:t:wo"):
        assert keeper.admits(asked(right))
    for wrong in ("ann:two", "bob:one", f"bob:{hashed}", "carl:one", "ann", "", "eve:x", "eve:$2b$broken"):
        assert not keeper.admits(asked(wrong)), wrong
    for header in ("", "Basic", "Basic !", "Bearer YW5uOm9uZQ==", "Basic \xff"):
        assert not keeper.admits(header)


OAUTH: dict[str, Any] = {
    "oauth_emails": ".*@x.org",
    "oauth_key": "k",
    "oauth_secret": "s",
    "oauth_redirect_uri": "https://f/login",
}


def test_a_provider_vouches_for_users(tmp_path: Path) -> None:
    settings = FlowerSettings(address="0.0.0.0", oauth="github", **OAUTH)
    options = flower_options(settings, 1, tmp_path)
    assert options["auth"] == ".*@x.org"
    assert options["auth_provider"] == "flower.views.auth.GithubLoginHandler"
    assert options["read_only"] is False
    assert settings.oauth_client() == {"key": "k", "secret": "s", "redirect_uri": "https://f/login"}


@pytest.mark.parametrize("lacking", list(OAUTH))
def test_half_a_provider_is_refused(lacking: str) -> None:
    given = {name: value for name, value in OAUTH.items() if name != lacking}
    with pytest.raises(ValueError, match=f"NONET_FLOWER_OAUTH=okta needs NONET_FLOWER_{lacking.upper()} too"):
        FlowerSettings(oauth="okta", **given).check()


@pytest.mark.parametrize("emails", [".*", "*", "a@*", ".*@x.org|b@x.org", "ann"])
def test_a_provider_that_vouches_for_everybody_is_refused(emails: str) -> None:
    with pytest.raises(ValueError, match="give addresses"):
        FlowerSettings(oauth="google", **{**OAUTH, "oauth_emails": emails}).check()


def test_read_only_can_be_asked_for(tmp_path: Path) -> None:
    settings = FlowerSettings(auth=SecretStr("ann:one"), read_only=True)
    assert flower_options(settings, 1, tmp_path)["read_only"] is True


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
