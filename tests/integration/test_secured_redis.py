"""A whole small run on a real Redis with TLS and least rights, and that no password of it is to be seen afterwards."""

from __future__ import annotations

import base64
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from kombu.exceptions import OperationalError

from config.redis_url import with_tls
from nonet.runs.plan import Plan
from tasks.app import make_app
from tests.integration.secured_rig import SecuredRig, authority
from tests.small_batch import write_batch

LOGIN = "ann:a-password-for-flower"
WEBHOOK = "http://127.0.0.1:9/hooks/a-secret-token"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredRig]:
    with SecuredRig(tmp_path_factory.mktemp("secured"), NONET_FLOWER_AUTH=LOGIN, NONET_WEBHOOK_URL=WEBHOOK) as rig:
        rig.start("redis")
        rig.client.acl_log_reset()
        rig.start("scheduler", "all0", "flower", "metrics")
        yield rig


@pytest.fixture(scope="module")
def plan(rig: SecuredRig, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A run that is complete."""
    plan = rig.submit(write_batch(tmp_path_factory.mktemp("batch")))
    rig.finish(plan)
    return plan


def page(rig: SecuredRig, name: str, path: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{rig.port_of(name)}{path}")
    request.add_header("Authorization", "Basic " + base64.b64encode(LOGIN.encode()).decode())
    with urllib.request.urlopen(request, timeout=20) as response:
        text: str = response.read().decode()
        return text


def client(rig: SecuredRig, user: str) -> redis.Redis:
    return redis.Redis.from_url(rig.url_of(user), ssl_ca_certs=str(rig.fleet / "ca.crt"))


def test_nobody_was_refused_what_their_work_needs(rig: SecuredRig, plan: Plan) -> None:
    rig.wait(lambda: "nonet.vote" in page(rig, "flower", "/api/tasks"), 30, "the vote in Flower")
    rig.wait(lambda: "all0@" in page(rig, "flower", "/api/workers?refresh=1"), 30, "the worker's own words in Flower")
    assert set(re.findall(r"train|infer|cpu", page(rig, "flower", "/broker"))) == {"train", "infer", "cpu"}
    scraped = page(rig, "metrics", "/metrics")
    assert f'nonet_run_phase{{phase="complete",run="{plan.run}"}} 1.0' in scraped
    assert 'nonet_processes{role="worker"} 1.0' in scraped
    assert rig.nonet("doctor", check=False).stdout.count("bad") == 0
    assert rig.nonet("status", "--json").returncode == 0
    refused = [f"{e['username']}: {e['reason']} {e['object']}" for e in rig.client.acl_log()]
    tolerated = ("client|setinfo", "client|setname", "client")  # redis-py introduces itself, and does without an answer
    assert [line for line in refused if not line.endswith(tolerated)] == []


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("nonet", "FLUSHALL"),
        ("nonet", "CONFIG GET requirepass"),
        ("nonet", "KEYS *"),
        ("nonet", "GET another:application"),
        ("nonet", "ACL LIST"),
        ("nonet", "SCRIPT FLUSH"),
        ("flower", "LPUSH train x"),
        ("flower", "SET nonet:lease:x x"),
        ("flower", "GET nonet:lease:x"),
        ("flower", "FLUSHDB"),
        ("metrics", "SET nonet:lease:x x"),
        ("metrics", "DEL train"),
        ("metrics", "LPUSH cpu x"),
        ("metrics", "PUBLISH /0.celery.pidbox x"),
        ("default", "PING"),
    ],
)
def test_nobody_may_do_more(rig: SecuredRig, user: str, command: str) -> None:
    rig.passwords["default"] = ""
    asked = client(rig, user)
    with pytest.raises((redis.exceptions.NoPermissionError, redis.AuthenticationError)):
        asked.execute_command(*command.split())  # type: ignore[no-untyped-call]
    asked.close()


@pytest.mark.parametrize("ca", ["another CA", "the system's"])
def test_a_redis_that_the_ca_does_not_vouch_for_is_refused(rig: SecuredRig, tmp_path: Path, ca: str) -> None:
    environment = dict(rig.environment)
    authority(tmp_path)
    try:
        if ca == "another CA":
            rig.environment["NONET_REDIS_CA"] = str(tmp_path / "ca.crt")
        else:
            del rig.environment["NONET_REDIS_CA"]
        done = rig.nonet("doctor", check=False)
    finally:
        rig.environment = environment
    assert "CERTIFICATE_VERIFY_FAILED" in re.sub(r"\s", "", done.stdout), done.stdout + done.stderr


def test_celery_checks_the_certificate_too(rig: SecuredRig, tmp_path: Path) -> None:
    """Kombu does not check that of a rediss:// URL unless it is told to."""
    authority(tmp_path)
    for ca, sound in ((rig.fleet / "ca.crt", True), (tmp_path / "ca.crt", False), (None, False)):
        app = make_app(with_tls(rig.url_of("nonet"), ca, None, None))
        with app.connection_for_write() as connection:
            if sound:
                connection.ensure_connection(max_retries=1)
                connection.default_channel.client.ping()
            else:
                with pytest.raises((OperationalError, redis.ConnectionError), match="CERTIFICATE_VERIFY_FAILED"):
                    connection.default_channel.client.ping()
        app.close()


def test_a_client_certificate_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    with SecuredRig(tmp_path, clients="yes") as rig:
        folder = rig.fleet
        shown = {"NONET_REDIS_CERT": str(folder / "client.crt"), "NONET_REDIS_KEY": str(folder / "client.key")}
        own = f"&ssl_certfile={folder / 'client.crt'}&ssl_keyfile={folder / 'client.key'}"
        (folder / "redis.url").write_text((folder / "redis.url").read_text().strip() + own)
        rig.start("redis")
        assert "answers" not in rig.nonet("doctor", check=False).stdout
        rig.environment |= shown
        assert "answers" in rig.nonet("doctor", check=False).stdout


def test_no_password_is_to_be_seen(rig: SecuredRig, plan: Plan) -> None:
    secrets = [*rig.passwords.values(), LOGIN.partition(":")[2], "a-secret-token"]
    secrets = [secret for secret in secrets if secret]
    assert len(secrets) == 6
    seen = {str(path): path.read_bytes() for path in (rig.home, rig.logs) for path in path.rglob("*") if path.is_file()}
    assert len(seen) > 30
    for name in ("/", "/workers", "/tasks", "/broker", "/metrics", "/api/tasks", "/api/workers?refresh=1"):
        seen[f"Flower {name}"] = page(rig, "flower", name).encode()
    task = next(iter(json.loads(page(rig, "flower", "/api/tasks"))))
    worker = next(iter(json.loads(page(rig, "flower", "/api/workers"))))
    for name in (f"/task/{task}", f"/worker/{worker}", f"/api/task/info/{task}"):
        seen[f"Flower {name}"] = page(rig, "flower", name).encode()
    seen["metrics"] = page(rig, "metrics", "/metrics").encode()
    for arguments in (("status",), ("status", "--json"), ("logs",), ("doctor",)):
        done = rig.nonet(*arguments, check=False)
        seen[f"nonet {' '.join(arguments)}"] = (done.stdout + done.stderr).encode()
    for name, process in rig.processes.items():
        for member in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            seen[f"arguments of {name} {member.pid}"] = " ".join(member.cmdline()).encode()
            if "paced_compute" in " ".join(member.cmdline()):
                seen[f"environment of {name} {member.pid}"] = Path(f"/proc/{member.pid}/environ").read_bytes()
    assert any("environment of" in place for place in seen), "the compute process was looked at too"
    found = [place for place, content in seen.items() for secret in secrets if secret.encode() in content]
    assert found == []
