"""Who may press a button: the login page, its cookie, and how often a password may be guessed. Knows no run."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from cli.page.desk import Page

USER = "nonet_user"
"""Cookie that holds the user's name, signed."""
SESSION_DAYS = 0.5
"""For how long a login holds."""
GUESSES = 5
"""Wrong passwords that one address may give within WINDOW_SECONDS."""
WINDOW_SECONDS = 60.0
PAUSE_SECONDS = 1.0
"""What each wrong password costs whoever gave it."""
_ADDRESSES = 10_000


class Throttle:
    """Counts wrong passwords by address; `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: dict[str, deque[float]] = {}

    def wait(self, address: str) -> float:
        """Seconds until `address` may try again, 0 when it may now."""
        wrong = self._recent(address)
        return 0.0 if len(wrong) < GUESSES else WINDOW_SECONDS - (self._clock() - wrong[0])

    def wrong(self, address: str) -> None:
        """`address` gave a wrong password."""
        if len(self._wrong) >= _ADDRESSES:
            self._wrong.pop(next(iter(self._wrong)))
        self._wrong.setdefault(address, deque(maxlen=GUESSES)).append(self._clock())

    def right(self, address: str) -> None:
        """`address` gave the right one."""
        self._wrong.pop(address, None)

    def _recent(self, address: str) -> deque[float]:
        wrong = self._wrong.get(address, deque())
        while wrong and self._clock() - wrong[0] >= WINDOW_SECONDS:
            wrong.popleft()
        return wrong


class LoginPage(Page):
    """`/login`: a form, and what becomes of it."""

    open_to_all = True

    def get(self) -> None:
        self._form()

    async def post(self) -> None:
        desk, address = self.desk, self.request.remote_ip or ""
        wait = desk.throttle.wait(address)
        if wait > 0:
            self.set_status(429)
            self.set_header("Retry-After", str(round(wait) + 1))
            self._form(f"Too many wrong passwords; try again in {wait:.0f} s.")
            return
        user, password = self.get_body_argument("user", ""), self.get_body_argument("password", "", strip=False)
        if not await desk.in_thread(desk.keeper.knows, user, password):
            desk.throttle.wrong(address)
            await asyncio.sleep(PAUSE_SECONDS)
            self.set_status(403)
            self._form("That is not a user with this password.")
            return
        desk.throttle.right(address)
        self.set_signed_cookie(USER, user, expires_days=None)
        self.redirect(here(self.get_body_argument("next", "/")), status=303)

    def _form(self, said: str = "") -> None:
        self.show("login.html.jinja", said=said, next=here(self.get_argument("next", "/")), title="Log in")


class LogoutPage(Page):
    """`/logout`: takes the cookie back."""

    open_to_all = True

    def post(self) -> None:
        self.clear_cookie(USER)
        self.redirect("/login" if self.desk.login else "/", status=303)


def here(path: str) -> str:
    """`path` when it leads to a page of this server, else the first page: nobody is sent elsewhere after a login."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if plain else "/"
