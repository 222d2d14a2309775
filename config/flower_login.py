"""Who may use Flower: users with passwords, or an OAuth provider, from NONET_FLOWER_*. Starts no Flower.

A password is given as it is, or as a bcrypt hash (`htpasswd -nB ann`); OAuth handlers are Flower's own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_HANDLERS = {
    "github": "flower.views.auth.GithubLoginHandler",
    "gitlab": "flower.views.auth.GitLabLoginHandler",
    "google": "flower.views.auth.GoogleAuth2LoginHandler",
    "okta": "flower.views.auth.OktaLoginHandler",
}
_BCRYPT = ("$2a$", "$2b$", "$2y$")
_OTHER_HASHES = ("$apr1$", "$1$", "$5$", "$6$", "{SHA}")
_FORM = "a login of Flower must be user:password (NONET_FLOWER_AUTH, NONET_FLOWER_AUTH_FILE)"


class FlowerSettings(BaseSettings):
    """Settings of Flower, each as NONET_FLOWER_<NAME> in the environment (the port is in config.settings)."""

    model_config = SettingsConfigDict(
        env_prefix="NONET_FLOWER_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    address: str = Field("127.0.0.1", description="where Flower listens; with a login only, unless it is loopback")
    auth: SecretStr | None = Field(None, description="user:password, more with commas between")
    auth_file: Path | None = Field(None, description="file with one user:password a line, or user:bcrypt (htpasswd -B)")
    read_only: bool | None = Field(None, description="no button that stops or starts; default: unless there is a login")
    oauth: Literal["github", "gitlab", "google", "okta"] | None = Field(None, description="who vouches for users")
    oauth_emails: str | None = Field(None, description="who may: a@x.org|b@x.org, or .*@x.org")
    oauth_key: str | None = Field(None, description="client id at the provider")
    oauth_secret: SecretStr | None = Field(None, description="client secret at the provider")
    oauth_redirect_uri: str | None = Field(None, description="https://<where Flower is reached>/login")

    def logins(self) -> tuple[str, ...]:
        """Every user:password; raises ValueError for one without both parts or with an unknown hash, OSError."""
        lines = self.auth.get_secret_value().split(",") if self.auth else []
        if self.auth_file is not None:
            lines += self.auth_file.read_text("utf-8").splitlines()
        found = tuple(line.strip() for line in lines if line.strip())
        for login in found:
            user, _, password = login.partition(":")
            if not user or not password:
                raise ValueError(_FORM)
            if password.startswith(_OTHER_HASHES):
                raise ValueError(
                    f"the password of Flower's user {user} is a hash other than bcrypt: htpasswd -B makes one"
                )
        return found

    def has_login(self) -> bool:
        """Whether a login is asked for; raises what `logins` raises."""
        return bool(self.logins()) or self.oauth is not None

    def check_page(self, address: str) -> None:
        """Raises what `check` raises where Nonet's own page, which takes these logins and no OAuth, may not listen on
        `address`."""
        if not self.logins() and not is_loopback(address):
            raise ValueError(
                f"the page on {address or 'every address'} needs a login: set NONET_FLOWER_AUTH=user:password "
                "(or NONET_FLOWER_AUTH_FILE; it knows no OAuth), or listen on 127.0.0.1"
            )

    def check(self) -> None:
        """Raises ValueError where Flower would be open to whoever can reach it, OSError without the file of logins."""
        self._check_oauth()
        if not self.has_login() and not is_loopback(self.address):
            raise ValueError(
                f"Flower on {self.address or 'every address'} needs a login: set NONET_FLOWER_AUTH=user:password "
                "(or NONET_FLOWER_AUTH_FILE), or listen on 127.0.0.1"
            )

    def _check_oauth(self) -> None:
        wanted = ("oauth_emails", "oauth_key", "oauth_secret", "oauth_redirect_uri")
        lacking = [f"NONET_FLOWER_{name.upper()}" for name in wanted if getattr(self, name) is None]
        if self.oauth is not None and lacking:
            raise ValueError(f"NONET_FLOWER_OAUTH={self.oauth} needs {', '.join(lacking)} too")
        if self.oauth is not None and self.logins():
            raise ValueError("give NONET_FLOWER_OAUTH or logins (NONET_FLOWER_AUTH, NONET_FLOWER_AUTH_FILE), not both")
        if self.oauth_emails is not None and not _is_pattern(self.oauth_emails):
            raise ValueError(
                f"NONET_FLOWER_OAUTH_EMAILS={self.oauth_emails}: give addresses with | between, or .*@domain"
            )

    def options(self) -> dict[str, Any]:
        """What of it are Flower's options; raises what `check` raises."""
        self.check()
        read_only = not self.has_login() if self.read_only is None else self.read_only
        options: dict[str, Any] = {"basic_auth": list(self.logins()), "read_only": read_only}
        if self.oauth is not None:
            options |= {"auth": self.oauth_emails, "auth_provider": _HANDLERS[self.oauth]}
        return options

    def oauth_client(self) -> dict[str, str | None]:
        """What Flower's OAuth handlers ask the provider with."""
        secret = self.oauth_secret.get_secret_value() if self.oauth_secret else None
        return {"key": self.oauth_key, "secret": secret, "redirect_uri": self.oauth_redirect_uri}


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach what listens on `address`."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_pattern(emails: str) -> bool:
    """As flower.utils.authentication.validate_auth_option, and never every address there is."""
    domain = emails.rsplit("@", 1)[-1]
    return "@" in emails and "*" not in domain and emails.count("*") <= 1 and not ("*" in emails and "|" in emails)


class Doorkeeper:
    """Checks a user's password, or the Authorization header of a request, against logins, for Flower and Nonet's
    own page. Remembers what was right, since bcrypt is slow."""

    def __init__(self, logins: tuple[str, ...]) -> None:
        self._passwords: dict[str, list[str]] = {}
        for login in logins:
            user, _, password = login.partition(":")
            self._passwords.setdefault(user, []).append(password)
        self._nobodys = next(iter(self._passwords.values()), [])
        self._known: set[bytes] = set()

    def admits(self, header: str) -> bool:
        """Whether `header` (`Basic …`) names a user with the right password."""
        kind, _, encoded = header.partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            return False
        user, colon, password = given.partition(":")
        return kind.lower() == "basic" and bool(colon) and self.knows(user, password)

    def knows(self, user: str, password: str) -> bool:
        """Whether `user` has this `password`; says no to a user that there is not as slowly as to a wrong password."""
        seen = hashlib.sha256(f"{user}:{password}".encode()).digest()
        if seen in self._known:
            return True
        right = [_matches(stored, password) for stored in self._passwords.get(user, self._nobodys)]
        if user not in self._passwords or not any(right):
            return False
        self._known.add(seen)
        return True


def _matches(stored: str, given: str) -> bool:
    if not stored.startswith(_BCRYPT):
        return hmac.compare_digest(stored.encode(), given.encode())
    import bcrypt

    try:
        return bcrypt.checkpw(given.encode(), stored.encode())
    except ValueError:  # not a whole hash, or a password that bcrypt does not take
        return False


def keep_doors(logins: tuple[str, ...]) -> None:
    """Have every page of Flower's in this process ask for one of `logins`, its figures for Prometheus too.

    Flower compares passwords as they are, and shows /metrics to anybody (flower 2.2, views/__init__.py, monitor.py).
    """
    from flower.views import BaseHandler
    from flower.views.monitor import Metrics
    from tornado.web import HTTPError

    keeper = Doorkeeper(logins)
    flowers_own, show = BaseHandler.get_current_user, Metrics.get

    def get_current_user(page: Any) -> Any:
        if logins and not keeper.admits(page.request.headers.get("Authorization", "")):
            raise HTTPError(401)
        return True if logins else flowers_own(page)

    async def get(page: Any) -> None:
        if not page.current_user:
            raise HTTPError(401)
        await show(page)

    BaseHandler.get_current_user = get_current_user
    Metrics.get = get
