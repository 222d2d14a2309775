"""The compose file for real: a whole fleet in containers, a login, a run that survives, and nothing left behind.

The tests stand in the order of a user's day and share one fleet.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.containers.project import ENGINE, Project

pytestmark = pytest.mark.timeout(3000)

ALWAYS = ("redis", "scheduler", "worker-cpu", "flower", "page")
COMPUTES = "worker-compute"
BATCH = "config/batches/demo.yaml"


@pytest.fixture(scope="module")
def run(project: Project) -> str:
    """Id of the demo batch's run, submitted from the host."""
    printed = project.nonet("submit", BATCH).stdout
    print(printed)
    return printed.split(":")[0].strip()


@pytest.fixture
def other_host(project: Project, tmp_path: Path) -> Iterator[Project]:
    """docker-compose.workers.yml in a folder of its own, joined to the fleet's network and storage."""
    text = (project.folder / "docker-compose.workers.yml").read_text("utf-8")
    composed = yaml.safe_load(text)
    composed["networks"] = {"fleet": {"external": True, "name": f"{project.name}_fleet"}}
    composed["volumes"]["storage"] = {"external": True, "name": f"{project.name}_storage"}
    (tmp_path / "docker-compose.yml").write_text(yaml.safe_dump(composed), "utf-8")
    shutil.copytree(project.folder / "models", tmp_path / "models")
    password = project.settings["NONET_REDIS_PASSWORD"]
    with Project(tmp_path, "cpu", {"NONET_REDIS_URL": f"redis://:{password}@redis:6379/0"}) as joined:
        yield joined


def status(project: Project, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        project.run_in("scheduler", "nonet", "status", run, "--json", check=False).stdout
    )
    return found


def trains(project: Project, run: str) -> bool:
    """Whether an adapter is in work and has made a step."""
    return any(a["state"] == "running" and a["progress"] for a in status(project, run)["adapters"])


def attempts(project: Project, records: str, field: str) -> list[str]:
    """A field of every attempt's records (`*.end.json`, or those of its begin), from storage."""
    text = project.run_in("scheduler", "sh", "-c", f"cat /storage/attempts/*/{records}").stdout
    return [json.loads(line)[field] for line in text.replace("}{", "}\n{").splitlines() if line.strip()]


def outcomes(project: Project) -> list[str]:
    """How each attempt ended."""
    return attempts(project, "*.end.json", "outcome")


def test_nothing_starts_without_its_secrets(images: tuple[str, ...]) -> None:
    assert images
    root = Path(__file__).resolve().parents[2]
    for missing in ("NONET_REDIS_PASSWORD", "NONET_FLOWER_AUTH"):
        settings = {"NONET_REDIS_PASSWORD": "0" * 20, "NONET_FLOWER_AUTH": "a:b"} | {missing: ""}
        bare = Project(root, "cpu", settings)
        done = bare.compose("up", "-d", check=False)
        assert done.returncode != 0
        assert f"{missing} " in done.stdout + done.stderr
        assert "set it in .env" in done.stdout + done.stderr
    assert not any(bare.left().values())


@pytest.mark.parametrize("image", ["nonet:fleet", "nonet:cpu"])
def test_images_hold_no_secret_and_no_root(images: tuple[str, ...], image: str) -> None:
    assert image in images
    (found,) = json.loads(ENGINE("image", "inspect", image).stdout)
    assert found["Config"]["User"] == "nonet"
    variables = {entry.partition("=")[0] for entry in found["Config"]["Env"]}
    assert not [n for n in variables if "PASSWORD" in n or "AUTH" in n or n == "NONET_REDIS_URL"]
    looked = ENGINE(
        "run", "--rm", "--entrypoint", "/bin/sh", image, "-c", "id -u; find /app -name '.env*'; ls /app"
    ).stdout
    user, *names = looked.split()
    assert user != "0"
    assert "nonet" in names
    assert not {"tests", ".git", ".env", ".env.example"} & set(names)
    assert not [n for n in names if "/.env" in n]


def test_everything_is_up_and_healthy(project: Project) -> None:
    for service in (*ALWAYS, COMPUTES):
        seconds = project.wait(lambda s=service: project.health(s).returncode == 0, 180, f"{service} is healthy")  # type: ignore[misc]
        print(f"{service}: healthy after {seconds:.0f} s: {project.health(service).stdout.strip()}")
    assert len(project.left()["containers"]) == len(ALWAYS) + 1


def test_redis_asks_for_a_password_and_keeps_what_it_has(project: Project) -> None:
    def redis(*words: str) -> str:
        return project.run_in("redis", *words, check=False).stdout.strip()

    assert redis("redis-cli", "config", "get", "appendonly").split() == ["appendonly", "yes"]
    assert redis("redis-cli", "config", "get", "maxmemory-policy").split() == ["maxmemory-policy", "noeviction"]
    assert redis("env", "-u", "REDISCLI_AUTH", "redis-cli", "ping").startswith("NOAUTH")
    assert redis("stat", "-c", "%U", "/proc/1") == "redis"
    assert not [p for p in project.inspect("redis")["NetworkSettings"]["Ports"].values() if p], "no port on the host"
    (fleet,) = json.loads(ENGINE("network", "inspect", f"{project.name}_fleet").stdout)
    assert fleet.get("Internal", fleet.get("internal")) is True


def test_no_secret_on_a_command_line(project: Project) -> None:
    secret = {project.settings["NONET_REDIS_PASSWORD"], project.settings["NONET_FLOWER_AUTH"].partition(":")[2]}
    lines = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    assert any("cli scheduler" in line for line in lines), "the containers' processes are seen from here"
    shown = [line for line in lines if any(s in line for s in secret) and "compose" not in line]
    assert not shown


def test_flower_answers_only_with_the_login(project: Project) -> None:
    url = f"http://127.0.0.1:{project.settings['NONET_FLOWER_PORT']}"

    def code(path: str, login: str | None) -> int:
        request = urllib.request.Request(url + path)
        if login is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    right = project.settings["NONET_FLOWER_AUTH"]
    for path in ("/", "/workers", "/tasks", "/api/workers"):
        found = {"without": code(path, None), "wrong": code(path, "admin:wrong"), "right": code(path, right)}
        print(path, found)
        assert found == {"without": 401, "wrong": 401, "right": 200}


def test_stop_drains(project: Project, run: str) -> None:
    """SIGTERM arrives, the training writes its checkpoint, its worker ends by itself within the grace period."""
    project.wait(lambda: trains(project, run), 300, "a training")
    stopped = project.container(COMPUTES)
    begun = time.monotonic()
    project.compose("stop", COMPUTES)
    seconds = time.monotonic() - begun
    (found,) = json.loads(ENGINE("inspect", stopped).stdout)
    print(f"drained in {seconds:.1f} s, exit code {found['State']['ExitCode']}")
    assert found["State"]["ExitCode"] == 0, "it ended by itself"
    assert seconds < 80
    assert "drained" in outcomes(project)
    project.compose("start", COMPUTES)


def test_killed_container_comes_back_and_another_host_joins(project: Project, run: str, other_host: Project) -> None:
    """SIGKILL to the container in mid-training; a host that joins meanwhile works, too; the run completes."""
    project.wait(lambda: trains(project, run), 300, "a training")
    killed, pid = project.container(COMPUTES), project.pid(COMPUTES)
    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        (now,) = json.loads(ENGINE("inspect", killed).stdout)
        return bool(now["State"]["Running"]) and now["State"]["Pid"] not in (0, pid)

    print(f"running again after {project.wait(is_back, 60, 'the killed container is started again'):.0f} s")
    project.wait(lambda: project.health(COMPUTES).returncode == 0, 180, "it is healthy again")
    other_host.compose("up", "-d")
    seconds = project.wait(lambda: status(project, run)["phase"] == "complete", 2700, "the run is complete")
    found = status(project, run)
    print(f"complete {seconds:.0f} s later; {found['counts']}")
    assert "lost" in outcomes(project), "the killed attempt is on record"
    workers = {w for w in attempts(project, "[0-9][0-9][0-9][0-9].json", "worker") if w.startswith("compute@")}
    assert len(workers) == 2, f"both hosts have worked: {workers}"


def test_result_is_scored_and_taken_out(project: Project, run: str, tmp_path: Path) -> None:
    scores = json.loads(project.nonet("score", run, "data/demo/test_gold.jsonl", "--json").stdout)
    print(f"submission {scores['submission']['accuracy']:.3f}, floor {scores['floor']['commonest']:.3f}")
    assert scores["submission"]["accuracy"] > scores["floor"]["commonest"] + 0.1
    ENGINE("cp", f"{project.container('scheduler')}:/storage/runs/{run}/submission.jsonl", str(tmp_path))
    rows = (tmp_path / "submission.jsonl").read_text("utf-8").splitlines()
    assert len(rows) == len((project.folder / "data/demo/test.jsonl").read_text("utf-8").splitlines())


def test_down_leaves_nothing(project: Project) -> None:
    project.compose("down")
    left = project.left()
    assert not left["containers"]
    assert not left["networks"]
    assert left["volumes"], "the results stay until they are told to go"
    project.compose("down", "-v")
    assert not any(project.left().values())
