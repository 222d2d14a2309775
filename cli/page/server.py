"""The page's server: addresses, settings of the web framework, and its life. Knows no page's content."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from cli.page.desk import Desk
from cli.page.login import LoginPage, LogoutPage
from cli.page.pages import (
    ASSETS,
    Asset,
    CancelButton,
    CellsPage,
    Health,
    Missing,
    ReportFile,
    RerunButton,
    RunPage,
    RunsPage,
    SubmissionFile,
    UnitPage,
)
from cli.page.readings import Readings
from cli.page.throttle import Throttle
from cli.session import Session
from config.flower_login import Doorkeeper, FlowerSettings

log = logging.getLogger("nonet.page")

MOST_BYTES = 64 * 1024
"""Of a request's body: forms hold a key at most."""
_RUN = r"/runs/([A-Za-z0-9][A-Za-z0-9._-]*)"


def application(session: Session, login: FlowerSettings) -> Application:
    """The pages over one session, for those who have a login of `login`; raises ValueError, OSError as it does.

    Logins are signed with a secret of this process, so they end with it.
    """
    logins = login.logins()
    desk = Desk(
        readings=Readings(session),
        keeper=Doorkeeper(logins),
        throttle=Throttle(),
        login=bool(logins),
        read_only=not logins or bool(login.read_only),
        flower=session.settings.flower_place,
    )
    return Application(
        [
            (r"/", RunsPage),
            (r"/login", LoginPage),
            (r"/logout", LogoutPage),
            (r"/healthcheck", Health),
            (rf"/static/({'|'.join(ASSETS)})", Asset),
            (_RUN, RunPage),
            (rf"{_RUN}/units/([0-9a-f]{{64}})", UnitPage),
            (rf"{_RUN}/cells/([0-9]{{1,9}})/([0-9]{{1,9}})-([0-9]{{1,9}})", CellsPage),
            (rf"{_RUN}/report", ReportFile),
            (rf"{_RUN}/submission", SubmissionFile),
            (rf"{_RUN}/rerun", RerunButton),
            (rf"{_RUN}/cancel", CancelButton),
        ],
        default_handler_class=Missing,
        desk=desk,
        cookie_secret=secrets.token_hex(32),
        xsrf_cookies=True,
        xsrf_cookie_name="nonet_xsrf",  # cookies do not know ports: Flower's is called _xsrf
        xsrf_cookie_version=1,  # unmasked: nothing here is compressed, and a page that has not changed stays the same
        log_function=lambda handler: None,
    )


def run_page(session: Session, login: FlowerSettings, address: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; raises OSError where it cannot listen, ValueError."""
    asyncio.run(_serve(application(session, login), address, port))


async def _serve(pages: Application, address: str, port: int) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = HTTPServer(pages, max_body_size=MOST_BYTES, max_buffer_size=4 * MOST_BYTES, idle_connection_timeout=60)
    sockets = bind_sockets(port, address)
    server.add_sockets(sockets)
    log.info("the page on http://%s:%s", address, sockets[0].getsockname()[1])
    await ended.wait()
    server.stop()
    await server.close_all_connections()
    desk: Desk = pages.settings["desk"]
    desk.threads.shutdown(wait=False, cancel_futures=True)
