"""The report in a real browser: as a run leaves it, in light and dark, without the network, and with hostile data."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest
from selenium import webdriver

from nonet.runs.result import write_result
from nonet.voting.aggregation import aggregate, spec_of
from tests.acceptance.conftest import Demo
from tests.cli_home import CliHome, write_files

pytestmark = pytest.mark.timeout(1200)
SECTIONS = ("accuracy", "agreement", "losses", "trainings", "fleet", "closest", "abstentions", "versions", "batch")


def shown(browser: webdriver.Chrome, page: Path, scheme: str, width: int = 1200) -> None:
    """Open a page on a light or dark screen of some width."""
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    browser.set_window_size(width, 900)
    browser.get(page.as_uri())


def asked(browser: webdriver.Chrome) -> list[str]:
    """What the browser has asked for since the last look, other than the page itself and its icon."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]  # type: ignore[no-untyped-call]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.endswith(("report.html", "favicon.ico"))]


def script(browser: webdriver.Chrome, text: str) -> object:
    return browser.execute_script(text)


def brightness(browser: webdriver.Chrome, selector: str, colour: str) -> float:
    """Mean of red, green and blue (0..255) of a computed colour of the first element that `selector` finds."""
    found = script(
        browser, f"return getComputedStyle(document.querySelector({selector!r})).{colour}.match(/[0-9.]+/g).slice(0, 3)"
    )
    assert isinstance(found, list)
    return sum(map(float, found)) / 3


@pytest.fixture(scope="module")
def report(demo: Demo) -> Path:
    """The report as the demo's run left it beside its submission."""
    submission = Path(json.loads(demo.nonet("status", demo.run, "--json").stdout)["submission"]["path"])
    return submission.with_name("report.html")


def test_a_run_leaves_its_report_beside_its_submission(
    report: Path, demo: Demo, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    assert f"report       {report}" in demo.printed
    assert report.stat().st_size < 1_000_000
    shown(browser, report, "light")
    sections = script(browser, "return [...document.querySelectorAll('section')].map(s => s.id)")
    assert sections == list(SECTIONS)
    figures = script(browser, "return [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().height)")
    assert isinstance(figures, list)
    assert len(figures) == 4
    assert all(height > 100 for height in figures)
    bars = script(browser, "return document.querySelectorAll('#fleet svg title').length")
    assert bars == 5 + 5 * 10 + 1, "five trainings, ten shards for each, the vote"
    text = script(browser, "return document.body.innerText")
    assert isinstance(text, str)
    assert "the vote on the test" in text
    assert "torch" in text
    browser.save_screenshot(str(tmp_path / "report.png"))


@pytest.mark.parametrize("width", [1200, 420])
def test_it_is_readable_in_light_and_dark_and_on_a_narrow_screen(
    report: Path, browser: webdriver.Chrome, width: int
) -> None:
    for scheme in ("light", "dark"):
        shown(browser, report, scheme, width)
        paper = brightness(browser, "body", "backgroundColor")
        assert (paper > 240) if scheme == "light" else (paper < 40)
        for selector, colour in (("h1", "color"), ("svg text", "fill"), ("pre", "color"), (".muted", "color")):
            assert abs(brightness(browser, selector, colour) - paper) > 90, f"{selector} on {scheme}"
        overflow = script(browser, "return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow == 0, "the page scrolls sideways"


def test_it_asks_nothing_of_any_network_and_logs_no_error(report: Path, browser: webdriver.Chrome) -> None:
    asked(browser)
    browser.get_log("browser")  # type: ignore[no-untyped-call]
    shown(browser, report, "dark")
    assert asked(browser) == []
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


def test_hostile_data_stays_text(browser: webdriver.Chrome, tmp_path: Path) -> None:
    here = CliHome(tmp_path, write_files(tmp_path))
    hostile = "</p></section><script>document.title='hacked'</script><svg onload=\"document.title='hacked'\">"
    hostile += "<img src=http://127.0.0.1:9/x onerror=\"document.title='hacked'\">{{ 7*7 }}"
    path = here.folder / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(r | {"problem": r["problem"] + hostile}) + "\n" for r in rows), encoding="utf-8")
    here.batch.write_text(here.batch.read_text(encoding="utf-8") + f"# {hostile}\n", encoding="utf-8")
    plan = here.submit()
    here.answer(plan, {"both": "A", "gold": "A", "more": "B"})
    result = aggregate(here.storage, plan, spec_of(plan))
    write_result(here.home, plan, result.submission, result.manifest)
    assert here.call("report", plan.run).exit_code == 0
    asked(browser)
    shown(browser, here.home.report(plan.run), "light")
    assert browser.title == f"{plan.run} – Nonet"
    assert asked(browser) == []
    script(browser, "document.querySelectorAll('details').forEach(d => d.open = true)")
    text = script(browser, "return document.body.innerText")
    assert isinstance(text, str)
    assert text.count(hostile) >= 4, "shown as it is"
    assert browser.title == f"{plan.run} – Nonet"


def test_the_logbook_of_the_demo_holds_its_scores(demo: Demo) -> None:
    sheet = pandas.read_excel(demo.home / "log.xlsx", sheet_name="demo-base")
    rows = sheet[sheet["run"] == demo.run]
    assert list(rows["mix"]) == ["all", "all-80-s1", "all-80-s2", "official-extra", "official-hand", "vote: majority"]
    assert list(rows["in the vote"][:5]) == ["yes"] * 5
    for column in ("validation", "test"):
        values = list(rows[column])
        assert all(isinstance(value, float) and 0 < value < 1 for value in values), f"{column}: {values}"
