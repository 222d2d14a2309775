"""The page's answers, from its real server over a home made by hand: who may do what, and that data stays text."""

from __future__ import annotations

import asyncio
import http.cookiejar
import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import bcrypt
import pytest
from pydantic import SecretStr
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from cli.exit_codes import ExitCode
from cli.page import login, readings
from cli.page.desk import POLICY
from cli.page.login import here
from cli.page.server import application
from cli.page.throttle import GUESSES, WINDOW_SECONDS
from cli.session import Session
from config.flower_login import Doorkeeper, FlowerSettings
from config.flower_pages import work_place
from config.settings import Settings
from nonet.runs.plan import Plan, QuestionSet
from tests.cli_home import CliHome, write_files

LOGIN = FlowerSettings(auth=SecretStr("ann:let me in"))
HOSTILE = "</p><script>document.title='hacked'</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"


@contextmanager
def served(home: CliHome, logins: FlowerSettings) -> Iterator[str]:
    """The page on a port of its own while this lasts; gives its address."""
    session = Session(Settings(home=str(home.folder / "home")))
    sockets = bind_sockets(0, "127.0.0.1")
    ready, loops = threading.Event(), []

    async def serve() -> None:
        ended = asyncio.Event()
        loops.append((asyncio.get_running_loop(), ended))
        server = HTTPServer(application(session, logins))
        server.add_sockets(sockets)
        ready.set()
        await ended.wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        loop, ended = loops[0]
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)


class Visitor:
    """A browser without scripts: cookies, forms, and where redirects lead."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))
        self.url = ""
        self.headers: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        return self._ask(urllib.request.Request(self.base + path, headers=headers))

    def post(self, path: str, **fields: str) -> tuple[int, str]:
        return self._ask(urllib.request.Request(self.base + path, urllib.parse.urlencode(fields).encode()))

    def press(self, page: str, path: str, **fields: str) -> tuple[int, str]:
        """Send the form of the page at `page` that leads to `path`."""
        _, text = self.get(page)
        form = re.search(rf'<form method="post" action="{re.escape(path)}".*?</form>', text, re.S)
        assert form, f"{page} has no form for {path}"
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[0]))
        return self.post(path, **hidden | fields)

    def log_in(self, user: str = "ann", password: str = "let me in") -> tuple[int, str]:
        return self.press("/login", "/login", user=user, password=password)

    def _ask(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with self._opener.open(request, timeout=10) as answer:
                self.url, self.headers = answer.url, dict(answer.headers)
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                self.headers = dict(error.headers)
                return error.code, error.read().decode()


@pytest.fixture
def home(tmp_path: Path) -> CliHome:
    return CliHome(tmp_path, write_files(tmp_path))


@pytest.fixture
def plan(home: CliHome) -> Plan:
    """A run with one adapter trained and answering, one failed, one waiting."""
    plan = home.submit()
    home.train(plan, "both")
    for cell in plan.cells:
        if cell.adapter.name == "both" and cell.shard.set is QuestionSet.TEST:
            home.cast(plan, cell, "A")
    home.fail(plan.adapters[1].key, error=HOSTILE)
    return plan


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(readings, "FRESH_SECONDS", 0.0)


def failures(home: CliHome, plan: Plan) -> int:
    found: int = json.loads(home.call("status", plan.run, "--json").stdout)["counts"]["adapters"]["failed"]
    return found


def test_without_a_login_it_shows_and_changes_nothing(home: CliHome, plan: Plan) -> None:
    with served(home, FlowerSettings()) as base:
        visitor = Visitor(base)
        status, text = visitor.get(f"/runs/{plan.run}")
        assert (status, "<form" in text) == (200, False)
        token = {"_xsrf": "2" * 32}
        for path in ("rerun", "cancel"):
            status, _ = Visitor(base).post(f"/runs/{plan.run}/{path}", **token)
            assert status == 403
        assert visitor.get("/", Host="evil.example.org")[0] == 403, "a name that a foreign site could have"
        assert visitor.get("/", Host="localhost:80")[0] == 200
    assert failures(home, plan) == 1
    assert not home.storage.store.exists(home.home.cancelled(plan.run))


def test_a_login_is_asked_for_and_checked(home: CliHome, plan: Plan, tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(b"b:ob", bcrypt.gensalt(4)).decode()
    (tmp_path / "logins").write_text(f"bob:{hashed}\n")
    both = FlowerSettings(auth=SecretStr("ann:let me in"), auth_file=tmp_path / "logins")
    with served(home, both) as base:
        visitor = Visitor(base)
        for path in ("/", f"/runs/{plan.run}", f"/runs/{plan.run}/units/{plan.adapters[0].key}", "/nowhere"):
            visitor.get(path)
            assert visitor.url == f"{base}/login?next={urllib.parse.quote(path, safe='')}"
        assert visitor.get("/healthcheck") == (200, "OK")
        for user, password in (("ann", "guess"), ("bob", hashed), ("eve", "let me in"), ("", "")):
            status, text = visitor.log_in(user, password)
            assert (status, "not a user with this password" in text) == (403, True)
        assert Visitor(base).log_in("bob", "b:ob")[0] == 200
        assert visitor.log_in()[0] == 200
        assert visitor.get(f"/runs/{plan.run}")[0] == 200
        cookies = {cookie.name: cookie for cookie in visitor.jar}
        for name in ("nonet_user", "nonet_xsrf"):
            assert cookies[name].has_nonstandard_attr("HttpOnly")
            assert cookies[name].get_nonstandard_attr("SameSite") == "Strict"
        visitor.press("/", "/logout")
        assert visitor.url == f"{base}/login"
        visitor.get("/")
        assert "/login" in visitor.url


def test_a_cookie_behind_tls_is_secure(home: CliHome, plan: Plan) -> None:
    with served(home, LOGIN) as base:
        request = urllib.request.Request(f"{base}/login", headers={"X-Forwarded-Proto": "https"})
        with urllib.request.urlopen(request) as answer:
            assert "Secure" in answer.headers["Set-Cookie"]


def test_a_forged_request_is_refused(home: CliHome, plan: Plan) -> None:
    with served(home, LOGIN) as base:
        visitor = Visitor(base)
        assert visitor.post("/login", user="ann", password="secret")[0] == 403
        visitor.log_in()
        for path in (f"/runs/{plan.run}/rerun", f"/runs/{plan.run}/cancel", "/logout"):
            assert visitor.post(path)[0] == 403
            assert visitor.post(path, _xsrf="2" * 32)[0] == 403
    assert failures(home, plan) == 1
    assert not home.storage.store.exists(home.home.cancelled(plan.run))


def test_read_only_shows_to_users_and_changes_nothing(home: CliHome, plan: Plan) -> None:
    with served(home, LOGIN.model_copy(update={"read_only": True})) as base:
        visitor = Visitor(base)
        visitor.log_in()
        _, text = visitor.get(f"/runs/{plan.run}")
        assert "/rerun" not in text
        token = next(cookie.value for cookie in visitor.jar if cookie.name == "nonet_xsrf")
        for path in ("rerun", "cancel"):
            assert visitor.post(f"/runs/{plan.run}/{path}", _xsrf=str(token))[0] == 403
    assert failures(home, plan) == 1


def test_the_buttons_do_what_the_commands_do(home: CliHome, plan: Plan) -> None:
    run = f"/runs/{plan.run}"
    with served(home, LOGIN) as base:
        visitor = Visitor(base)
        visitor.log_in()
        status, text = visitor.press(run, f"{run}/rerun")
        assert (status, "1 to be tried again" in text) == (200, True)
        assert failures(home, plan) == 0
        home.fail(plan.adapters[1].key)
        unit_page = f"{run}/units/{plan.adapters[1].key}"
        assert "Rerun this" in visitor.get(unit_page)[1]
        visitor.press(unit_page, f"{run}/rerun")
        assert failures(home, plan) == 0
        status, text = visitor.press(run, f"{run}/cancel")
        assert "Cancelled: workers stop" in text
        assert home.storage.store.exists(home.home.cancelled(plan.run))
        visitor.press(run, f"{run}/rerun")
        assert not home.storage.store.exists(home.home.cancelled(plan.run)), "taken up again"


class Scripts(HTMLParser):
    """Every script, handler and style that a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "script" and named != {"src": "/static/page.js", "defer": None}:
            self.found.append(tag)
        self.found += [name for name in named if name.startswith("on") or name == "style"]


def test_hostile_data_stays_text(home: CliHome, plan: Plan) -> None:
    path = home.home.plan(plan.run)
    forged = json.loads(path.read_bytes())
    forged["adapters"][2]["name"] = HOSTILE
    path.write_text(json.dumps(forged))
    with served(home, LOGIN) as base:
        visitor = Visitor(base)
        visitor.log_in()
        for page in ("/", f"/runs/{plan.run}", *(f"/runs/{plan.run}/units/{a.key}" for a in plan.adapters[1:])):
            status, text = visitor.get(page)
            assert status == 200, text
            assert Scripts(text).found == []
            assert "49" not in re.sub(r"[0-9a-f]{16,}", "", text)
            assert visitor.headers["Content-Security-Policy"] == POLICY
        assert "&lt;script&gt;document.title=" in text
        for odd in ("/runs/..%2f..%2fetc", "/runs/%3Cscript%3E", f"/runs/{plan.run}/units/{'0' * 64}", "/runs/no-run"):
            status, text = visitor.get(odd)
            assert status == 404
            assert Scripts(text).found == []


def test_what_has_not_changed_is_not_sent_again(home: CliHome, plan: Plan) -> None:
    home.storage.store.create(home.home.cancelled(plan.run), b"{}")
    with served(home, LOGIN) as base:
        visitor = Visitor(base)
        visitor.log_in()
        visitor.get("/")
        tag = visitor.headers["Etag"]
        assert visitor.get("/", **{"If-None-Match": tag})[0] == 304


def test_the_vote_forms_on_the_page(home: CliHome, plan: Plan) -> None:
    with served(home, FlowerSettings()) as base:
        _, text = Visitor(base).get(f"/runs/{plan.run}")
    assert "6 of 6 questions of the test have a ballot, 0 every member's" in text
    assert "6 unanimous, 0 by majority, 0 tied" in text


def test_guessing_ends_on_the_page(home: CliHome, plan: Plan) -> None:
    with served(home, LOGIN) as base:
        visitor = Visitor(base)
        for _ in range(GUESSES):
            assert visitor.log_in("ann", "guess")[0] == 403
        assert visitor.log_in()[0] == 429, "even with the right password"
        assert int(visitor.headers["Retry-After"]) <= WINDOW_SECONDS + 1


def test_many_guesses_at_once_are_as_many(home: CliHome, plan: Plan) -> None:
    with served(home, LOGIN) as base, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: Visitor(base).log_in("ann", "guess")[0], range(24)))
    assert (answers.count(403), answers.count(429)) == (GUESSES, 24 - GUESSES)


def test_it_does_not_start_open_to_all(home: CliHome) -> None:
    refused = home.call("serve", "--address", "0.0.0.0")
    assert refused.exit_code == ExitCode.USAGE
    assert "NONET_FLOWER_AUTH=user:password" in refused.stderr


@pytest.mark.parametrize(
    "path", ["//evil.org", "https://evil.org", "/\\evil.org", "evil", "", "/a\nb", "javascript:alert(1)"]
)
def test_a_login_leads_nowhere_else(path: str) -> None:
    assert here(path) == "/"


def test_a_login_leads_back() -> None:
    assert here("/runs/demo-1?from=50") == "/runs/demo-1?from=50"


def test_an_unknown_user_takes_as_long_as_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[bytes] = []
    hashed = bcrypt.hashpw(b"one", bcrypt.gensalt(4)).decode()
    keeper = Doorkeeper((f"ann:{hashed}",))
    right = bcrypt.checkpw

    def noted(given: bytes, stored: bytes) -> bool:
        checked.append(given)
        return right(given, stored)

    monkeypatch.setattr(bcrypt, "checkpw", noted)
    assert not keeper.knows("eve", "one")
    assert not keeper.knows("ann", "two")
    assert checked == [b"one", b"two"]
    assert not Doorkeeper(()).knows("", "")


@pytest.mark.parametrize("address", ["0.0.0.0", "", "::", "gpu-1.lab"])
def test_the_page_is_not_open_elsewhere(address: str) -> None:
    with pytest.raises(ValueError, match="NONET_FLOWER_AUTH=user:password"):
        FlowerSettings().check_page(address)
    LOGIN.check_page(address)


def test_flower_leads_to_the_page() -> None:
    key = "a" * 64
    told = repr({"run": "demo-1", "keys": [key, "b" * 64], "shard": "test-000"})
    assert work_place("http://127.0.0.1:5557", told) == f"http://127.0.0.1:5557/runs/demo-1/units/{key}"
    for odd in (
        "",
        "()",
        "None",
        "{}",
        repr({"run": "x", "keys": []}),
        repr({"run": "<script>", "keys": [key]}),
        "{" * 5000,
    ):
        assert work_place("http://127.0.0.1:5557", odd) is None


def test_a_box_for_several_cells_lists_them(home: CliHome, plan: Plan) -> None:
    with served(home, FlowerSettings()) as base:
        visitor = Visitor(base)
        status, text = visitor.get(f"/runs/{plan.run}/cells/0/0-2")
        assert status == 200
        assert [cell.name in text for cell in plan.cells if cell.adapter.name == "both"][:3] == [True, True, False]
        for odd in ("99/0-1", "0/2-2", "0/5-1", f"0/{10**20}-1", "0/0-"):
            assert visitor.get(f"/runs/{plan.run}/cells/{odd}")[0] == 404


def test_what_a_run_left_is_served(home: CliHome, plan: Plan) -> None:
    with served(home, FlowerSettings()) as base:
        visitor = Visitor(base)
        for name in ("report", "submission"):
            assert visitor.get(f"/runs/{plan.run}/{name}")[0] == 404
        home.home.submission(plan.run, plan.submission).write_text('{"id": "t0"}\n')
        assert home.call("report", plan.run).exit_code == 0
        status, text = visitor.get(f"/runs/{plan.run}/report")
        assert (status, "<h1>" in text) == (200, True)
        assert "sandbox" in visitor.headers["Content-Security-Policy"]
        assert "script-src" not in visitor.headers["Content-Security-Policy"]
        assert visitor.get(f"/runs/{plan.run}/submission") == (200, '{"id": "t0"}\n')
        assert visitor.headers["Content-Disposition"].startswith("attachment")
        assert f'href="/runs/{plan.run}/report"' in visitor.get(f"/runs/{plan.run}")[1]
