"""The documentation as a site: built strictly, made from the code, readable in a browser without any other address."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from cli.exit_codes import MEANINGS
from cli.main import COMMANDS
from config.batch_schema import BatchFile
from config.settings import Settings
from tests.acceptance.test_report import asked, script

ROOT = Path(__file__).resolve().parents[2]


def build(target: Path, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(root / "mkdocs.yml"), "-d", str(target)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    done = build(target)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return target


def words(page: Path) -> str:
    """The text of a page's article."""
    article = re.search(r"<article.*?</article>", page.read_text("utf-8"), re.S)
    assert article is not None, page
    return html.unescape(re.sub(r"<[^>]+>", " ", article[0]))


def test_every_page_is_there(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    made = {Path(f"reference/{name}.html") for name in ("batch-file", "settings", "command", "metrics", "errors")}
    missing = [
        page for page in pages | made | {Path("index.html"), Path("zh-CN/index.html")} if not (site / page).exists()
    ]
    assert not missing


def test_the_reference_is_the_code(site: Path) -> None:
    settings, command = words(site / "reference/settings.html"), words(site / "reference/command.html")
    batch, errors = words(site / "reference/batch-file.html"), words(site / "reference/errors.html")
    assert [name for name in Settings.model_fields if f"NONET_{name.upper()}" not in settings] == []
    assert [name for name in COMMANDS if f"nonet {name}" not in command] == []
    assert [name for name in BatchFile.model_fields if name not in batch] == []
    assert [text for text in MEANINGS.values() if text not in errors] == []
    assert "nonet_queue_oldest_message_age_seconds" in words(site / "reference/metrics.html")
    assert "anything" not in batch  # a kind of value that nobody has put into words


def test_nothing_on_the_site_comes_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe)[^>]+src=[\"']?https?:|<link[^>]+href=[\"']?https?:|url\(https?:")
    found = [
        path.name for path in site.rglob("*") if path.suffix in (".html", ".css") and loaded.search(path.read_text())
    ]
    assert not found


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_browser_reads_and_searches_it_without_the_network(address: str, browser: webdriver.Chrome) -> None:
    for page, heading in (("index.html", "Nonet"), ("zh-CN/tutorial.html", "教程"), ("tutorial.html", "From nothing")):
        browser.get(f"{address}/{page}")
        assert browser.find_element(By.TAG_NAME, "h1").text.startswith(heading)
        wide = script(browser, "return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0, f"{page} scrolls sideways"
    script(browser, "document.querySelector('[data-md-component=search-query]').focus()")
    browser.switch_to.active_element.send_keys("lease")
    found = WebDriverWait(browser, 10).until(lambda b: b.find_elements(By.CSS_SELECTOR, ".md-search-result__item"))
    assert found
    elsewhere = [url for url in asked(browser) if not url.startswith((address, "data:", "blob:"))]
    assert elsewhere == []


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    """Both kinds: to a page, which MkDocs looks after, and to a file of the repository, which the hook does."""
    root = tmp_path / "checkout"
    root.mkdir()
    for found in ROOT.iterdir():
        if found.name == "docs":
            shutil.copytree(found, root / "docs")
        else:
            (root / found.name).symlink_to(found)
    page = "# Broken\n\n[a](nowhere.md) [b](../config/nowhere.py) [c](bases.md#nowhere)\n"
    (root / "docs" / "broken.md").write_text(page, encoding="utf-8")
    done = build(tmp_path / "site", root)
    assert done.returncode != 0
    for said in ("docs/broken.md links to nowhere.md", "../config/nowhere.py", "#nowhere"):
        assert said in done.stdout + done.stderr
