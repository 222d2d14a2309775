"""What the promises of docs/reliability.md stand on, checked here: storage, Redis, clocks. Prints nothing."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from cli.exit_codes import ExitCode
from cli.finding import Finding, Health
from nonet.stores.home import Home
from nonet.stores.store import Published, Store
from workers.redis_server import OLDEST

_LOW_SPACE = 5 * 2**30
"""Bytes; adapters, checkpoints and ballots of a batch need some."""
_SKEW = 60.0
"""Seconds between two clocks that people would notice in `status` and in logs."""
_RACERS = 8
_NEARLY_FULL = 0.9


def storage_findings(home: Home, reserve: int) -> Iterator[Finding]:
    """Whether the storage of `home` is one that results are safe on."""
    store, place = home.store, f"storage {home.store.url}"
    probe, record = (home.root / f".doctor-{uuid.uuid4().hex}" for _ in range(2))
    try:
        yield _exclusive(store, place, probe)
        yield _fenced(store, record)
        yield _clock("clock of the storage", store.modified(probe) - time.time())
        yield _space(home, reserve)
    except OSError as error:
        yield Finding(place, Health.BAD, f"{error}; give another --home, or mend it", ExitCode.STORAGE)
    finally:
        for path in (probe, record):
            with suppress(OSError):
                store.delete(path)


def redis_findings(client: redis.Redis) -> Iterator[Finding]:
    """Whether the fleet's Redis is one that work gets through; raises redis.RedisError."""
    yield from info_findings(client.info())
    seconds, microseconds = client.time()
    yield _clock("clock of Redis", seconds + microseconds / 1e6 - time.time())


def info_findings(info: Mapping[str, Any]) -> Iterator[Finding]:
    """What Redis's INFO tells."""
    version = str(info["redis_version"])
    old = tuple(int(part) for part in version.split(".")[:2]) < OLDEST
    text = f"{version}: too old, Nonet is tested from {OLDEST[0]}.{OLDEST[1]} on" if old else f"{version}, answers"
    yield Finding("Redis", Health.BAD if old else Health.GOOD, text, ExitCode.NO_FLEET)
    saved = bool(info.get("aof_enabled"))
    text = "append-only file" if saved else "none: waiting messages die with Redis; the scheduler sends them again"
    yield Finding("Redis persistence", Health.GOOD if saved else Health.WARNING, text)
    if saved and info.get("aof_last_write_status", "ok") != "ok":
        text = "its append-only file cannot be written: it refuses all writes; make room on its disk"
        yield Finding("Redis disk", Health.BAD, text, ExitCode.NO_FLEET)
    policy = str(info.get("maxmemory_policy", "unknown"))
    kept = policy == "noeviction"
    remedy = "" if kept else ": may drop messages and leases; set maxmemory-policy noeviction"
    yield Finding("Redis eviction", Health.GOOD if kept else Health.BAD, policy + remedy, ExitCode.NO_FLEET)
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used > _NEARLY_FULL * limit:
        text = f"{used / 2**20:.0f} of {limit / 2**20:.0f} MiB used; full, it refuses work: raise maxmemory"
        yield Finding("Redis memory", Health.BAD, text, ExitCode.NO_FLEET)


def _exclusive(store: Store, place: str, probe: Path) -> Finding:
    """Several create the same file at the same moment: one may win, and its content stands."""
    with ThreadPoolExecutor(_RACERS) as pool:
        won = [n for n, first in enumerate(pool.map(lambda n: store.create(probe, b"%d" % n), range(_RACERS))) if first]
    sound = len(won) == 1 and store.read(probe) == b"%d" % won[0]
    text = "creates files exclusively" if sound else "an exclusive create is not exclusive; use another storage"
    return Finding(place, Health.GOOD if sound else Health.BAD, text, ExitCode.STORAGE)


def _fenced(store: Store, record: Path) -> Finding:
    """A newer try begins while an older one is about to commit: the older one must not get through."""

    def overtaken() -> bool:
        store.fence(record, 2)
        return True

    sound = store.commit(record, b"{}", 1, overtaken) is Published.STALE
    text = "keeps out whoever was overtaken" if sound else "lets through what was overtaken; use another storage"
    return Finding("commits", Health.GOOD if sound else Health.BAD, text, ExitCode.STORAGE)


def _space(home: Home, reserve: int) -> Finding:
    """Free space on this machine's side: the storage itself, or the cache of an object store."""
    free = home.store.free_bytes()
    short = home.store.shortage(reserve)
    if short is not None:
        return Finding("free space", Health.BAD, short, ExitCode.STORAGE)
    return Finding("free space", Health.GOOD if free > _LOW_SPACE else Health.WARNING, f"{free / 2**30:.1f} GiB")


def _clock(what: str, skew: float) -> Finding:
    if abs(skew) <= _SKEW:
        return Finding(what, Health.GOOD, "agrees with this machine's")
    text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's: times in status and logs mislead"
    return Finding(what, Health.WARNING, f"{text}, leases and results do not depend on them; set the clocks (NTP)")
