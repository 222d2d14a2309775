"""What every request works with, and what every answer has: the session, who is asked in, headers, templates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import responses
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tornado.web import HTTPError, RequestHandler

import nonet
from cli.errors import explain
from cli.exit_codes import ExitCode
from cli.page.readings import Readings
from cli.page.throttle import Throttle
from cli.view import attempts_text, cause, headline
from config.flower_login import Doorkeeper, is_loopback
from nonet.duration import duration

FOLDER = Path(__file__).parent
USER = "nonet_user"
"""Cookie that holds the user's name, signed."""
SESSION_DAYS = 0.5
"""For how long a login holds."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
"""No script and no style but the page's own files, nothing from elsewhere, no frame around it."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "nonet",
}
_STATUS = {ExitCode.NOT_FOUND: 404, ExitCode.USAGE: 400, ExitCode.BLOCKED: 409}
_T = TypeVar("_T")


@dataclass
class Desk:
    """What the pages of one server share. `read_only`: no button does anything; `flower`: where Flower is reached."""

    readings: Readings
    keeper: Doorkeeper
    throttle: Throttle
    login: bool
    read_only: bool
    flower: str
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "page"))

    def __post_init__(self) -> None:
        loader = FileSystemLoader(FOLDER)
        self.templates = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self.templates.filters |= {"duration": duration, "cause": cause, "attempts_text": attempts_text}
        self.templates.globals |= {"headline": headline}

    async def in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """What `work` returns, done where it keeps no other request waiting."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *arguments)


class Page(RequestHandler):
    """One kind of page."""

    open_to_all = False
    """Whether it is shown to those who have not logged in."""
    changes = False
    """Whether it does something, which a server that only shows refuses."""

    @property
    def desk(self) -> Desk:
        desk: Desk = self.settings["desk"]
        return desk

    def set_default_headers(self) -> None:
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def set_cookie(self, name: str, value: str | bytes, *arguments: Any, **more: Any) -> None:
        """A cookie for this server's own pages alone; over TLS, its own or a proxy's, never without."""
        secure = "https" in (self.request.protocol, self.request.headers.get("X-Forwarded-Proto"))
        super().set_cookie(name, value, *arguments, **more | {"httponly": True, "samesite": "Strict", "secure": secure})

    def get_current_user(self) -> str | None:
        user = self.get_signed_cookie(USER, max_age_days=SESSION_DAYS)
        return user.decode("utf-8", "replace") if user else None

    def prepare(self) -> None:
        desk = self.desk
        if not desk.login and not _names_loopback(self.request.host_name):
            raise HTTPError(403, reason="Without a login the page answers as 127.0.0.1 or localhost only")
        if desk.login and not self.open_to_all and not self.current_user:
            if self.request.method not in ("GET", "HEAD"):
                raise HTTPError(403, reason="Log in first")
            self.redirect("/login?" + urlencode({"next": self.request.uri or "/"}), status=303)
        elif self.changes and desk.read_only:
            raise HTTPError(403, reason="This page only shows")

    def show(self, template: str, **values: Any) -> None:
        """Answer with a template's page."""
        shared = {
            "desk": self.desk,
            "user": self.current_user,
            "form": self.xsrf_form_html,
            "version": nonet.__version__,
        }
        self.finish(self.desk.templates.get_template(template).render(**shared, **values))

    def write_error(self, status_code: int, **more: Any) -> None:
        error = more["exc_info"][1] if "exc_info" in more else None
        told = explain(error) if error is not None and not isinstance(error, HTTPError) else None
        if told is not None:
            status_code = _STATUS.get(told[1], 503)
            self.set_status(status_code)
        text = told[0] if told else getattr(error, "reason", None) or responses.get(status_code, "error")
        self.show("error.html.jinja", status=status_code, text=text, title=str(status_code))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if isinstance(value, HTTPError) or explain(value) is None:
            super().log_exception(typ, value, tb)


def _names_loopback(host: str) -> bool:
    """Whether a request was made for this machine by a name that no foreign site can have (DNS rebinding)."""
    if host == "localhost":
        return True
    try:
        return is_loopback(str(ip_address(host.strip("[]"))))
    except ValueError:
        return False
