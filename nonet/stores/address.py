"""Addresses: from the text of NONET_HOME to the home it names. Knows the forms of an address, opens nothing."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nonet.home import Home

FORMS = "a folder, or file:///folder"


def home_at(address: str) -> Home:
    """The home at `address`; raises ValueError for what is no address."""
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", address):
        return Home(Path(address).resolve())
    parts = urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return Home(Path(unquote(parts.path)).resolve())
    raise ValueError(f"{address!r} is no home: give {FORMS}")
