"""Who may press a button: the login page, and the way out. Knows no run."""

from __future__ import annotations

import asyncio

from cli.page.desk import USER, Page

PAUSE_SECONDS = 1.0
"""What each wrong password costs whoever gave it."""


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
        desk.throttle.guess(address)  # before the check, so that many at once are as many
        user, password = self.get_body_argument("user", ""), self.get_body_argument("password", "", strip=False)
        if not await desk.in_thread(desk.keeper.knows, user, password):
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
