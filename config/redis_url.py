"""The URL of a Redis with what TLS needs in it, so that every client of it (redis, kombu, Flower) does the same.

Knows the query parameters that redis-py and kombu read alike. Opens no connection.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

TLS = "rediss"
_PARAMETERS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def with_tls(url: str, ca: Path | None, certificate: Path | None, key: Path | None) -> str:
    """`url`; a rediss:// one with the CA that vouches for the server, the client's certificate and its key, if given.

    The server's certificate is always checked, which kombu 5.7 would not do by itself, unless `url` says otherwise
    (ssl_cert_reqs=none). Raises ValueError for files without TLS.
    """
    given = {
        name: str(path) for name, path in zip(_PARAMETERS, (ca, certificate, key), strict=True) if path is not None
    }
    parts = urlsplit(url)
    if parts.scheme != TLS:
        if given:
            raise ValueError("NONET_REDIS_CA, _CERT and _KEY are for TLS: NONET_REDIS_URL must begin with rediss://")
        return url
    query = {"ssl_cert_reqs": "required", **given, **dict(parse_qsl(parts.query))}
    return parts._replace(query=urlencode(query)).geturl()
