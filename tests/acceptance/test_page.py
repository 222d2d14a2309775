"""The page in a real browser: over the demo's run as it was left, and over a real fleet with its buttons."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from nonet.runs.attempt import Outcome
from nonet.runs.plan import Plan
from scheduler.state import Phase, UnitState
from tests.acceptance.conftest import Demo
from tests.rig import ROOT, Rig
from tests.small_batch import write_batch
from workers.redis_server import free_port

pytestmark = pytest.mark.timeout(1200)
LOGIN = {"NONET_FLOWER_AUTH": "ann:let me in"}


@contextmanager
def serving(log: Path, **settings: str) -> Iterator[str]:
    """`nonet serve` while this lasts; gives its address."""
    port = free_port()
    command = [sys.executable, "-m", "cli", "serve", "--port", str(port)]
    with log.open("wb") as file:
        page = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=file, stderr=file)
    try:
        wait(lambda: "the page on" in log.read_text(), 30, log.read_text)
        yield f"http://127.0.0.1:{port}"
    finally:
        page.terminate()
        assert page.wait(20) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def wait(what: Callable[[], object], seconds: float = 60.0, why: Callable[[], str] = str) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if what():
                return
        except StaleElementReferenceException:  # exchanged in this moment
            pass
        assert time.monotonic() < end, f"what was waited for did not come about in {seconds:.0f} s: {why()}"
        time.sleep(0.1)


def script(browser: webdriver.Chrome, text: str) -> object:
    return browser.execute_script(text)


def text(browser: webdriver.Chrome, selector: str = "body") -> str:
    found = script(browser, f"return document.querySelector({selector!r})?.innerText || ''")
    assert isinstance(found, str)
    return found


def log_in(browser: webdriver.Chrome, password: str) -> None:
    browser.find_element(By.NAME, "user").clear()
    browser.find_element(By.NAME, "user").send_keys("ann")
    browser.find_element(By.NAME, "password").send_keys(password, Keys.ENTER)


def screen(browser: webdriver.Chrome, scheme: str, width: int) -> None:
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def brightness(browser: webdriver.Chrome, selector: str, colour: str) -> float:
    found = script(
        browser, f"return getComputedStyle(document.querySelector({selector!r})).{colour}.match(/[0-9.]+/g).slice(0, 3)"
    )
    assert isinstance(found, list)
    return sum(map(float, found)) / 3


@pytest.fixture(scope="module")
def served(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page over the demo's finished run, without a login."""
    with serving(tmp_path_factory.mktemp("page") / "page.log", NONET_HOME=str(demo.home)) as page:
        yield page


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 390)])
def test_it_is_readable_in_light_and_dark_and_on_a_phone(
    served: str, browser: webdriver.Chrome, tmp_path: Path, scheme: str, width: int
) -> None:
    screen(browser, scheme, width)
    for path, shown in (("/", "5 of 5 trained"), ("/runs/latest", "questions of the test have a ballot")):
        browser.get(served + path)
        assert shown in text(browser)
        assert sideways(browser) == 0
        paper = brightness(browser, "body", "backgroundColor")
        assert (paper > 240) if scheme == "light" else (paper < 40)
        for selector in ("h1", "small", "nav a"):
            assert abs(brightness(browser, selector, "color") - paper) > 70, f"{selector} on {scheme}"
    assert script(browser, "return document.querySelectorAll('a.cell.committed').length") == 50
    assert script(browser, "return document.querySelectorAll('.lane').length") == 3, "two that compute, one that votes"
    assert script(browser, "return document.querySelectorAll('.curves svg').length") == 5
    browser.save_screenshot(str(tmp_path / "page.png"))
    script(browser, "document.querySelector('a.cell').click()")
    wait(lambda: "committed" in text(browser, "#unit"), 20, lambda: text(browser))
    assert sideways(browser) == 0


def sideways(browser: webdriver.Chrome) -> object:
    """Pixels that a page is wider than the screen."""
    return script(browser, "return document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_it_is_used_by_keyboard_and_asks_for_nothing_from_elsewhere(served: str, browser: webdriver.Chrome) -> None:
    screen(browser, "light", 1200)
    for kind in ("performance", "browser"):
        browser.get_log(kind)  # type: ignore[no-untyped-call]
    browser.get(f"{served}/runs/latest")
    keys = webdriver.ActionChains(browser)
    keys.send_keys(Keys.TAB).perform()
    assert script(browser, "return document.activeElement.className") == "skip", "first of all: past the navigation"
    script(browser, "document.querySelector('a.cell').focus()")
    for key, box in ((Keys.ARROW_RIGHT, 1), (Keys.ARROW_DOWN, 11), (Keys.ARROW_LEFT, 10), (Keys.ARROW_UP, 0)):
        webdriver.ActionChains(browser).send_keys(key).perform()
        at = script(browser, "return [...document.querySelectorAll('a.cell')].indexOf(document.activeElement)")
        assert at == box, key
    webdriver.ActionChains(browser).send_keys(Keys.ENTER).perform()
    wait(lambda: "committed" in text(browser, "#unit"), 20, lambda: text(browser))
    time.sleep(3.5)  # a look of the script
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]  # type: ignore[no-untyped-call]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert len(asked) >= 5
    assert [url for url in asked if not url.startswith(f"{served}/")] == []
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path / "rig") as started:
        yield started


def test_a_run_is_watched_rerun_and_cancelled_from_the_page(
    rig: Rig, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    rig.start("redis")
    plan = rig.submit(write_batch(tmp_path / "batch", mixes=2, rows=12, test_rows=5, epochs=2))
    first, second = plan.adapters
    examples = rig.storage.home.input(first.input)
    sound = examples.read_bytes()
    examples.write_bytes(b"{}\n")  # found out by the worker, and failed for good
    environment = {name: rig.environment[name] for name in ("NONET_HOME", "NONET_LEASE_SECONDS")}
    screen(browser, "light", 1200)
    with serving(tmp_path / "page.log", **environment, **LOGIN) as page:
        run = f"{page}/runs/{plan.run}"
        browser.get(run)
        log_in(browser, "guess")
        wait(lambda: "not a user with this password" in text(browser), 20)
        log_in(browser, "let me in")
        wait(lambda: browser.current_url == run, 20, lambda: text(browser))
        script(browser, "window.same = true")
        rig.start("scheduler", "cpu", "w0")
        try_rerun(rig, browser, plan, lambda: examples.write_bytes(sound))
        assert script(browser, "return window.same") is None, "a pressed button loads the page"
        script(browser, "window.same = true")
        wait(lambda: ", loss " in text(browser, "#grid"), 120, rig.tails)
        assert script(browser, "return window.same") is True, "the grid moves without a reload"
        browser.save_screenshot(str(tmp_path / "training.png"))
        wait(lambda: len(rig.attempts.history(first.key)) == 2, 120, rig.tails)
        browser.find_element(By.CSS_SELECTOR, "#cancel summary").send_keys(Keys.ENTER)
        browser.find_element(By.CSS_SELECTOR, "#cancel button").send_keys(Keys.ENTER)
        wait(lambda: "Cancelled: workers stop" in text(browser), 20, lambda: text(browser))
    assert rig.phase(plan) is Phase.CANCELLED
    rig.wait(lambda: rig.attempts.history(first.key)[-1].outcome is not None, 30, "the end of the attempt", pause=0.1)
    assert rig.attempts.history(first.key)[-1].outcome is Outcome.CANCELLED
    assert rig.state(plan).adapters[1].state is UnitState.COMMITTED
    assert len(rig.attempts.history(second.key)) == 1


def try_rerun(rig: Rig, browser: webdriver.Chrome, plan: Plan, mend: Callable[[], object]) -> None:
    """See the failure come, read it, mend it, and press the button by keyboard."""
    name = plan.adapters[0].name
    wait(lambda: name in text(browser, "#failures") and "bad_input" in text(browser, "#failures"), 60, rig.tails)
    assert script(browser, "return window.same") is True, "it came without a reload"
    browser.find_element(By.CSS_SELECTOR, "#failures a").send_keys(Keys.ENTER)
    wait(lambda: "failed, bad_input" in text(browser, "#unit"), 20, lambda: text(browser))
    link = browser.find_element(By.CSS_SELECTOR, "#unit a[href*='/task/']").get_attribute("href")
    assert link == f"http://127.0.0.1:5555/task/{rig.attempts.history(plan.adapters[0].key)[0].task}"
    mend()
    browser.find_element(By.ID, "rerun").send_keys(Keys.ENTER)
    wait(lambda: "1 to be tried again" in text(browser), 20, lambda: text(browser))
