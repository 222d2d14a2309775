"""Flower in a real browser, on a fleet that `nonet up` started and that really trains: what a person sees there."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import bcrypt
import psutil
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from config.settings import Settings
from nonet.runs.plan import Plan, plan_from_json
from tests.acceptance.conftest import chromium
from tests.small_batch import ROOT, write_batch
from workers.redis_server import free_port

TRAINING = re.compile(r"training \d+/\d+, loss \d+\.\d+")


class Up:
    """`nonet up` as a user starts it, on a home of its own."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        ports = {"NONET_FLOWER_PORT": str(self.port), "NONET_PAGE_PORT": "0"}
        self.environment = os.environ | {"NONET_HOME": str(self.home)} | ports
        self.log = root / "up.log"
        with self.log.open("wb") as log:
            self.process = self.spawn("up", "--workers", "1", log=log)

    def spawn(
        self, *arguments: str, log: int | IO[bytes] = subprocess.DEVNULL, more: Mapping[str, str] = {}
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", *arguments],
            cwd=ROOT,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def submit(self, batch: Path) -> Plan:
        done = subprocess.run(
            [sys.executable, "-m", "cli", "submit", str(batch)], cwd=ROOT, env=self.environment, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        (run,) = (self.home / "runs").iterdir()
        return plan_from_json((run / "plan.json").read_bytes())

    def password(self) -> str:
        found = re.search(r"://:(.+)@", Settings(home=self.home).redis())
        assert found
        return found[1]

    def family(self) -> list[psutil.Process]:
        """Every living process that works on this home, whoever its parent is."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("NONET_HOME") == str(self.home) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def close(self) -> None:
        """Ctrl-C, then whatever is left is killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(90)
        for process in self.family():
            process.kill()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    started = Up(tmp_path_factory.mktemp("flower"))
    try:
        wait(lambda: answers(started.url), why=f"Flower at {started.url}")
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def run(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A run whose first training takes long enough to be looked at."""
    return up.submit(write_batch(tmp_path_factory.mktemp("batch"), mixes=2, rows=30, test_rows=10, epochs=4))


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium(width=1500) as driver:
        yield driver


def wait(what: Callable[[], object], seconds: float = 60.0, why: str = "what was waited for") -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"{why} did not come about in {seconds:.0f} s"
        time.sleep(0.2)


def answers(url: str, login: str | None = None) -> int:
    """The HTTP status of a page, 0 when nobody listens."""
    request = urllib.request.Request(url)
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def tasks(browser: webdriver.Chrome) -> list[dict[str, str]]:
    """The rows of the task list as a person reads them, by column."""
    script = """
      const names = [...document.querySelectorAll('#tasks-table thead th')].map(th => th.dataset.column);
      return [...document.querySelectorAll('#tasks-table tbody tr')].map(tr =>
        Object.fromEntries([...tr.children].map((td, at) => [names[at], td.innerText])));
    """
    found: list[dict[str, str]] = browser.execute_script(script)
    return [row for row in found if "name" in row and "args" in row]


def workers(browser: webdriver.Chrome) -> dict[str, str]:
    """Status by the name of a worker."""
    script = "return [...document.querySelectorAll('#workers-table tbody tr')].map(tr => tr.innerText.split(/\\s+/))"
    cells: list[list[str]] = browser.execute_script(script)
    return {row[0].split("@")[0]: row[1] for row in cells if len(row) > 1}


def link(browser: webdriver.Chrome, selector: str) -> str:
    """Where the first link that `selector` finds leads to; lists replace their rows while they are read."""
    found = browser.execute_script("return document.querySelector(arguments[0]).href", selector)
    assert isinstance(found, str)
    return found


def training(browser: webdriver.Chrome) -> dict[str, str] | None:
    """The row of the training that is going on, None where there is none with a loss."""
    return next((row for row in tasks(browser) if row["state"] == "PROGRESS" and TRAINING.search(row["result"])), None)


@pytest.mark.timeout(900)
def test_a_training_is_recognised_and_moves(up: Up, run: Plan, browser: webdriver.Chrome, tmp_path: Path) -> None:
    browser.get(f"{up.url}/tasks")
    wait(lambda: training(browser), 120, "a training with its loss in the list")
    browser.save_screenshot(str(tmp_path / "tasks.png"))
    first = training(browser)
    assert first is not None
    adapter = run.adapters[0]
    assert first["name"] == "nonet.train"
    assert first["args"] == f"mix={adapter.name} questions={adapter.questions} steps={adapter.steps} run={run.run}"
    assert first["worker"].startswith("compute0@")

    def moved() -> bool:
        now = training(browser)
        return now is not None and now["result"] != first["result"]

    wait(moved, 20, "progress without a reload")
    browser.refresh()
    wait(lambda: training(browser), 20, "the training after a reload")


@pytest.mark.timeout(900)
def test_a_worker_stays_online_while_it_trains(up: Up, run: Plan, browser: webdriver.Chrome, tmp_path: Path) -> None:
    browser.get(f"{up.url}/tasks")
    wait(lambda: training(browser), 60, "a training")
    browser.get(f"{up.url}/workers")
    wait(lambda: workers(browser).keys() >= {"compute0", "cpu"}, 20, "both workers")
    end = time.monotonic() + 10  # Celery takes a worker to be gone after 4 s without a heartbeat
    while time.monotonic() < end:
        assert workers(browser)["compute0"] == "Online"
        time.sleep(0.5)
    browser.save_screenshot(str(tmp_path / "workers.png"))


@pytest.mark.timeout(900)
def test_shards_name_their_adapters_and_results_read_as_words(up: Up, run: Plan, browser: webdriver.Chrome) -> None:
    browser.get(f"{up.url}/tasks")

    def voted() -> bool:
        return any(row["name"] == "nonet.vote" and row["state"] == "SUCCESS" for row in tasks(browser))

    wait(voted, 800, "the vote")
    rows = tasks(browser)
    answered = [row for row in rows if row["name"] == "nonet.infer" and row["state"] == "SUCCESS"]
    names = {adapter.name for adapter in run.adapters}
    for row in answered:
        found = re.fullmatch(rf"shard=(test|validation)-\d+ adapters=(.+) run={run.run}", row["args"])
        assert found, row
        assert set(found[2].split(", ")) <= names
    assert any("/test-000: committed" in row["result"] for row in answered)
    (vote,) = (row for row in rows if row["name"] == "nonet.vote")
    assert (vote["args"], vote["result"]) == (f"run={run.run}", "vote: committed")


@pytest.mark.timeout(900)
def test_no_page_holds_the_password(up: Up, run: Plan, browser: webdriver.Chrome) -> None:
    browser.get(f"{up.url}/tasks")
    wait(lambda: tasks(browser), 20, "tasks")
    task = link(browser, "#tasks-table a[href*='/task/']")
    browser.get(f"{up.url}/workers")
    wait(lambda: "compute0" in workers(browser), 20, "the worker")
    worker = link(browser, "#workers-table a[href*='/worker/compute0']")
    for page in (f"{up.url}/workers?json=1", f"{up.url}/broker", f"{up.url}/metrics", task, worker):
        browser.get(page)
        assert up.password() not in browser.page_source, page
    browser.get(worker)
    assert "broker_url" in browser.page_source  # the page that could have shown it
    browser.get(f"{up.url}/broker")
    text = browser.find_element(By.TAG_NAME, "body").text
    assert {"train", "infer", "cpu"} <= set(text.split())
    for process in up.family():
        assert up.password() not in " ".join(process.cmdline())
        assert up.password() not in "".join(process.environ().values())


@pytest.mark.timeout(900)
def test_a_task_leads_to_the_page_and_the_page_back(up: Up, run: Plan, browser: webdriver.Chrome) -> None:
    browser.get(f"{up.url}/tasks")
    wait(lambda: tasks(browser), 20, "tasks")
    browser.get(link(browser, "#tasks-table a[href*='/task/']"))
    task = browser.current_url
    browser.get(link(browser, "#nonet-work"))
    assert f"/runs/{run.run}/units/" in browser.current_url
    assert link(browser, "#unit a[href*='/task/']") == task
    browser.get(f"{up.url}/workers")
    browser.get(link(browser, ".app-nav a"))
    assert run.run in browser.find_element(By.ID, "runs").text


@pytest.mark.timeout(900)
def test_history_survives_flower(up: Up, run: Plan, browser: webdriver.Chrome) -> None:
    browser.get(f"{up.url}/tasks")
    wait(lambda: tasks(browser), 20, "tasks")
    before = {row["args"] for row in tasks(browser)}
    time.sleep(11)  # its history is saved every 10 s
    (flower,) = (process for process in up.family() if "flower" in process.cmdline())
    flower.kill()
    wait(lambda: not answers(up.url), 10, "the end of Flower")
    wait(lambda: answers(up.url), 30, "Flower again: `nonet up` starts what ended")
    browser.get(f"{up.url}/tasks")
    wait(lambda: tasks(browser), 20, "tasks")
    assert {row["args"] for row in tasks(browser)} == before


@pytest.mark.timeout(900)
def test_a_login_is_asked_for(up: Up, tmp_path: Path) -> None:
    port = free_port()
    settings = {"NONET_HOME": str(tmp_path), "NONET_REDIS_URL": Settings(home=up.home).redis()}
    hashed = bcrypt.hashpw(b"let me in", bcrypt.gensalt(4)).decode()
    (tmp_path / "logins").write_text(f"bob:{hashed}\n")
    settings |= {"NONET_FLOWER_AUTH": "ann:let me in", "NONET_FLOWER_AUTH_FILE": str(tmp_path / "logins")}
    flower = up.spawn("flower", "--port", str(port), more=settings)
    try:
        wait(lambda: answers(f"http://127.0.0.1:{port}/tasks"), 30, "Flower with a login")
        for page in ("tasks", "workers", "broker", "metrics", "api/workers"):
            url = f"http://127.0.0.1:{port}/{page}"
            assert answers(url) == 401
            assert answers(url, "ann:guess") == 401
            assert answers(url, f"bob:{hashed}") == 401
            assert answers(url, "ann:let me in") == 200
            assert answers(url, "bob:let me in") == 200
    finally:
        flower.terminate()
        assert flower.wait(20) == 0


@pytest.mark.timeout(900)
def test_ctrl_c_ends_everything(up: Up) -> None:
    assert len(up.family()) >= 5  # up itself, scheduler, two workers with their children, Flower
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(90) == 0, up.log.read_text()
    wait(lambda: not up.family(), 10, "the end of every process")
    assert not answers(up.url)
