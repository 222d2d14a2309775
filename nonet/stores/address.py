"""Addresses: from the text of NONET_HOME to the home it names. Knows the forms of an address, opens nothing."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nonet.stores.home import Home

FORMS = "a folder, file:///folder, or s3://bucket/prefix"


def home_at(address: str, *, cache: Path, endpoint: str | None = None) -> Home:
    """The home at `address`; an object store's copies lie in a folder of its own under `cache`, its server at
    `endpoint` (None: Amazon's, or what AWS_ENDPOINT_URL_S3 says). Raises ValueError for what is no address.
    """
    parts = urlsplit(address)
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", address):
        return Home(Path(address).resolve())
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return Home(Path(unquote(parts.path)).resolve())
    if parts.scheme == "s3" and parts.netloc and not (parts.query or parts.fragment or "@" in parts.netloc):
        from nonet.stores.s3 import S3Store

        prefix = parts.path.strip("/")
        named = re.sub(r"[^A-Za-z0-9]+", "-", f"{parts.netloc}/{prefix}").strip("-")[:60]
        exact = hashlib.sha256(f"{endpoint or ''} {parts.netloc} {prefix}".encode()).hexdigest()[:12]
        root = cache.expanduser().resolve() / f"{named}-{exact}"
        return Home(root, S3Store(root, parts.netloc, prefix, endpoint))
    told = "this" if "@" in address else repr(address)  # what stands before an @ may be a login
    raise ValueError(f"{told} is no home: give {FORMS}")


def default_cache() -> Path:
    """Where caches lie on this machine, by the XDG Base Directory Specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nonet"
