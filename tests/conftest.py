"""What every test runs under: a clean environment, no network, and no process left behind."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings

from tests.undisturbed import rig, undisturbed

__all__ = ["rig", "undisturbed"]

ROOT = Path(__file__).resolve().parent.parent
MARK = "NONET_TEST_SESSION"
"""Environment variable that all processes started by this session inherit, however far they detach."""

settings.register_profile("nonet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("nonet"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "nonet")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n` (pytest-xdist) one process takes the unit and integration tests, one after the other; the fault tests,
    which mostly wait, are spread over the others, and the first of these to be done takes the acceptance tests."""
    from xdist.scheduler import LoadScopeScheduling

    class Apart(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = nodeid.split("/")[1]
            return {"faults": nodeid, "acceptance": folder}.get(folder, "the rest")

    return Apart(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what a test has recorded under the name `soak`, whether it passed or not."""
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties:
            if name == "soak":
                terminalreporter.write_line(f"{report.nodeid}: {value}")


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Take the user's NONET_* settings away (the stacks stay), forbid hubs, and find processes that were not ended."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("NONET_") and n != "NONET_STACKS"]:
            patch.delenv(name)
        if "NONET_STACKS" not in os.environ:
            patch.setenv("NONET_STACKS", str(ROOT / ".stacks"))
        for name, value in (
            (MARK, uuid.uuid4().hex),
            ("HF_HUB_OFFLINE", "1"),
            ("SE_OFFLINE", "true"),
            ("TOKENIZERS_PARALLELISM", "false"),
        ):
            patch.setenv(name, value)
        session = os.environ[MARK]
        yield
        left = _end_processes(session)
    assert not left, "tests must end their own processes; these were left and are ended now:\n" + "\n".join(left)


def _end_processes(session: str) -> list[str]:
    """Kill the processes that carry `session` in their environment; returns a line for each."""
    left = []
    for found in psutil.process_iter():
        try:
            if found.pid == os.getpid() or found.environ().get(MARK) != session:
                continue
            left.append(f"{found.pid} {' '.join(found.cmdline())}"[:300])
            found.kill()
        except psutil.Error:
            continue
    return left


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def stacks() -> Path:
    """Folder of the installed stacks."""
    return Path(os.environ["NONET_STACKS"])
