"""What acceptance tests share: the demo, run once as a user runs it, and a browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Demo:
    """A finished `nonet demo`: its home, its run's id, what it printed, the seconds it took."""

    home: Path
    run: str
    printed: str
    seconds: float

    def nonet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the `nonet` command on the demo's home."""
        return run_nonet(self.home, *arguments)


def run_nonet(home: Path, *arguments: str, seconds: float = 900) -> subprocess.CompletedProcess[str]:
    """Run the `nonet` command in the checkout's root, as a user does there."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=ROOT,
        env=os.environ | {"NONET_HOME": str(home), "NONET_FLOWER_PORT": "0", "NONET_PAGE_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """`nonet demo` from nothing to its table."""
    home = tmp_path_factory.mktemp("demo") / "home"
    begun = time.monotonic()
    done = run_nonet(home, "demo")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    seconds = time.monotonic() - begun
    status = run_nonet(home, "status", "--json")
    return Demo(home, json.loads(status.stdout)["run"], done.stdout, seconds)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium(width=1200) as driver:
        yield driver


@contextmanager
def chromium(width: int) -> Iterator[webdriver.Chrome]:
    """Headless Chromium of this width, whose logs of its console and of what it asks for can be read."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", f"window-size={width},900"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()
