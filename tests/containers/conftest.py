"""Fixtures of the container tests: images that were built, and one fleet of containers, up for the whole session.

`make test-containers` builds the images. CONTAINER_ENGINE and COMPOSE are the commands: docker and docker compose, or
what stands in for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.project import ENGINE, Project, fresh_settings

IMAGES = ("nonet:fleet", "nonet:cpu")


@pytest.fixture(scope="session")
def images() -> tuple[str, ...]:
    """The images' names; fails where `make images` has not built them."""
    for name in IMAGES:
        size = ENGINE("image", "inspect", "--format", "{{.Size}}", name).stdout.strip()
        print(f"{name}: {int(size) / 2**20:.0f} MiB")
    return IMAGES


@pytest.fixture(scope="session")
def project(images: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The whole system without a GPU, as `docker compose --profile cpu up -d` starts it."""
    assert images
    folder = Path(__file__).resolve().parents[2]
    with Project(folder, "cpu", fresh_settings()) as project:
        project.compose("up", "-d")
        yield project
