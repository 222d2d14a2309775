"""A compose project under test: the engine's and compose's commands, its containers and what is left of it."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from workers.redis_server import free_port

LABEL = "com.docker.compose.project"


class Command:
    """A command line from the environment, with what it is called with."""

    def __init__(self, variable: str, default: str) -> None:
        self.words = shlex.split(os.environ.get(variable) or default)

    def __call__(
        self, *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.words, *arguments],
            cwd=cwd,
            env=os.environ | dict(env or {}),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)} → {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done


ENGINE = Command("CONTAINER_ENGINE", "docker")
COMPOSE = Command("COMPOSE", "docker compose")


def fresh_settings() -> dict[str, str]:
    """What a user writes into .env, with new secrets and a free port."""
    return {
        "NONET_REDIS_PASSWORD": secrets.token_hex(24),
        "NONET_FLOWER_AUTH": f"admin:{secrets.token_hex(12)}",
        "NONET_FLOWER_PORT": str(free_port()),
        "NONET_PAGE_PORT": str(free_port()),
    }


class Project:
    """One compose project; everything of it is removed at the end."""

    def __init__(self, folder: Path, profile: str, settings: Mapping[str, str]) -> None:
        self.name = f"nonet-test-{secrets.token_hex(4)}"
        self.folder = folder
        self.profile = profile
        self.settings = dict(settings)
        self._pids: dict[str, int] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self.services: dict[str, Any] = yaml.safe_load((folder / "docker-compose.yml").read_text("utf-8"))["services"]

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.compose("down", "-v", check=False)

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return COMPOSE(
            "-p", self.name, "--profile", self.profile, *arguments, cwd=self.folder, env=self.settings, check=check
        )

    def nonet(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`docker compose run --rm nonet …`, as a user's shell on the host does."""
        return self.compose("--profile", "cli", "run", "--rm", "-T", "nonet", *arguments, check=check)

    def run_in(self, service: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the container of a service, as its user and with its environment.

        By nsenter, without the engine: quick enough to ask often, and it needs no new limits, which some hosts refuse.
        """
        pid = self.pid(service)
        main = psutil.Process(pid)
        identity = ("--setuid", str(main.uids().real), "--setgid", str(main.gids().real))
        done = subprocess.run(
            ["nsenter", "--target", str(pid), "--all", "--root", "--wd", *identity, "--", *command],
            env=self._environments[service],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{service}: {' '.join(command)} → {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def pid(self, service: str) -> int:
        """The main process of a service's container, as the host sees it; asked again when it is gone."""
        if service not in self._pids or not psutil.pid_exists(self._pids[service]):
            found = self.inspect(service)
            self._pids[service] = int(found["State"]["Pid"])
            self._environments[service] = dict(entry.split("=", 1) for entry in found["Config"]["Env"])
        return self._pids[service]

    def container(self, service: str) -> str:
        """Id of the only running container of a service."""
        filters = (f"label={LABEL}={self.name}", f"label=com.docker.compose.service={service}")
        found = ENGINE("ps", "-q", *(word for f in filters for word in ("--filter", f))).stdout.split()
        assert len(found) == 1, f"{service}: {len(found)} running containers"
        return found[0]

    def inspect(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(ENGINE("inspect", self.container(service)).stdout)[0]
        return found

    def health(self, service: str) -> subprocess.CompletedProcess[str]:
        """Run the health check of a service, as the engine does at its interval."""
        definition = self.services[service]
        if "extends" in definition:
            other = yaml.safe_load((self.folder / definition["extends"]["file"]).read_text("utf-8"))
            definition = other["services"][definition["extends"]["service"]]
        kind, *words = definition["healthcheck"]["test"]
        command = ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words
        return self.run_in(service, *(word.replace("$$", "$") for word in command), check=False)

    def left(self) -> dict[str, list[str]]:
        """What the engine still has of this project, by kind."""
        only = ("--filter", f"label={LABEL}={self.name}", "-q")
        return {
            "containers": ENGINE("ps", "-a", *only).stdout.split(),
            "networks": ENGINE("network", "ls", *only).stdout.split(),
            "volumes": ENGINE("volume", "ls", *only).stdout.split(),
        }

    def wait(self, what: Callable[[], bool], seconds: float, why: str) -> float:
        """Wait until `what()` holds; returns the seconds that it took, raises AssertionError with the logs."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            if what():
                return time.monotonic() - begun
            time.sleep(1)
        logs = self.compose("logs", "--tail", "20", check=False)
        raise AssertionError(f"{why} did not come about in {seconds:.0f} s\n{logs.stdout}\n{logs.stderr}"[-8000:])
