"""The container files as far as they can be read without an engine: no secret, no open door, nothing unpinned."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILES = ("docker-compose.yml", "docker-compose.workers.yml", "docker-compose.head.yml")
SECRETS = ("NONET_REDIS_PASSWORD", "NONET_FLOWER_AUTH")


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def services(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(read(name))["services"]
    return found


def example() -> dict[str, str]:
    lines = (line.partition("=") for line in read(".env.example").splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in lines}


def test_example_names_every_variable_and_no_secret() -> None:
    used = {name for file in COMPOSE_FILES for name in re.findall(r"(?<!\$)\$\{(\w+)", read(file))}
    assert used <= set(example()), "a variable of a compose file that .env.example does not explain"
    assert not [name for name in SECRETS if example()[name]]
    defaults = {m[1]: m[2] for file in COMPOSE_FILES for m in re.finditer(r"\$\{(\w+):-([^}]*)\}", read(file))}
    assert {n: v for n, v in example().items() if v} == {n: v for n, v in defaults.items() if v}


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_demanded_and_have_no_default(secret: str) -> None:
    text = read("docker-compose.yml")
    assert f"${{{secret}:?" in text
    assert f"${{{secret}:-" not in text
    assert f"${{{secret}}}" not in text


def test_only_flower_page_and_metrics_are_reached_and_on_loopback() -> None:
    published = {
        name: service["ports"] for name, service in services("docker-compose.yml").items() if "ports" in service
    }
    assert set(published) == {"flower", "page", "metrics"}
    assert published["page"][0].startswith("${NONET_PAGE_LISTEN:-127.0.0.1}:")
    assert published["flower"][0].startswith("${NONET_FLOWER_LISTEN:-127.0.0.1}:")
    assert published["metrics"][0].startswith("${NONET_METRICS_LISTEN:-127.0.0.1}:")
    networks = yaml.safe_load(read("docker-compose.yml"))["networks"]
    assert networks["fleet"]["internal"] is True
    assert services("docker-compose.yml")["redis"]["networks"] == ["fleet"]
    assert "NONET_REDIS_LISTEN:?" in services("docker-compose.head.yml")["redis"]["ports"][0]


def test_profile_cpu_is_a_whole_fleet_without_a_gpu() -> None:
    found = services("docker-compose.yml")
    started = {name for name, service in found.items() if "cpu" in service.get("profiles", ["cpu"])}
    assert started == {"redis", "scheduler", "worker-cpu", "flower", "page", "worker-compute"}
    workers = services("docker-compose.workers.yml")
    assert "devices" not in str(workers["worker-compute"])
    for name in ("worker-train", "worker-infer", "worker-gpu"):
        (device,) = workers[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
        assert found[name]["profiles"] == workers[name]["profiles"]


def test_queues_of_each_profile_are_all_taken() -> None:
    workers = services("docker-compose.workers.yml")
    for profile in ("cpu", "gpu", "single-gpu"):
        commands = [w["command"] for w in workers.values() if profile in w["profiles"]]
        assert {q for command in commands for q in command[-1].split(",")} == {"train", "infer"}
    assert services("docker-compose.yml")["worker-cpu"]["command"][-1] == "cpu"


def test_workers_have_the_time_to_drain() -> None:
    for worker in services("docker-compose.workers.yml").values():
        grace, drain = worker["stop_grace_period"], worker["environment"]["NONET_DRAIN_SECONDS"]
        assert int(grace.removesuffix("s")) > int(drain) + 5 >= Settings.model_fields["drain_seconds"].default
        assert isinstance(worker["command"], list), "a shell would keep SIGTERM to itself"


def test_everything_that_stays_is_checked_and_comes_back() -> None:
    stays = {**services("docker-compose.workers.yml"), **services("docker-compose.yml")}
    for name, service in stays.items():
        service = services("docker-compose.workers.yml")[name] if "extends" in service else service
        if name != "nonet":
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges"], name
        assert "privileged" not in service, name


def test_images_are_pinned_and_not_root() -> None:
    text = read("Dockerfile.gpu")
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.M)) | {"system-${STACK}"}
    bases = [name for name in re.findall(r"^FROM (\S+)", text, re.M) if name not in stages]
    bases += [service["image"] for service in services("docker-compose.yml").values() if "image" in service]
    for name in bases:
        assert re.search(r":\d+\.\d+\.\d+|^nonet:", name), f"{name} has no version"
    assert re.search(r"^USER nonet$", text, re.M)
    assert not re.search(r"(?i)password|token", re.sub(r"^#.*$", "", text, flags=re.M))


def test_every_stack_of_the_dockerfile_exists() -> None:
    for stacks in re.findall(r'STACKS="([^"]+)"', read("Dockerfile.gpu")):
        for stack in stacks.split():
            assert (ROOT / "config" / "stacks" / f"{stack}.txt").exists(), stack


def test_secrets_stay_out_of_git_and_of_images() -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", ".env", ".env.local"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ignored.stdout.split() == [".env", ".env.local"]
    first, *rest = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert first == "*"
    assert not [line for line in rest if line.startswith("!") and line[1:].startswith((".", "*"))]
