"""Redis killed, emptied, away for longer than a lease, full: the run goes on to the undisturbed submission."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from kombu.exceptions import OperationalError

from config.queues import Queue
from tasks.app import make_app
from tests.faults.paced import PacedRig, Reference
from tests.faults.proxy import Proxy
from tests.promises import check_promises
from tests.rig import LEASE_SECONDS


@pytest.mark.parametrize("phase", ["training", "answering"])
def test_redis_killed_and_started_again(paced: PacedRig, reference: Reference, phase: str) -> None:
    """Row 6: kill -9 in the middle of work, twice. What runs goes on, and no consumer hangs afterwards."""
    paced.start("redis", "scheduler", "all0")
    with paced.held(phase):
        plan = paced.submit(reference.batch)
        held = [a.key for a in plan.adapters] if phase == "training" else [c.key for c in plan.cells]
        paced.wait(lambda: bool(in_work(paced, held)), 300, f"{phase} in work")
        working = in_work(paced, held)
        for _ in range(2):
            paced.kill("redis")
            paced.wait_for_log("scheduler", "paused, Redis is not well")
            paced.start("redis")
            paced.wait(lambda: consumers(paced) == {"all0"}, 300, "the worker answers through the new Redis")
        assert in_work(paced, held) == working, "what ran before Redis died is still in work"
    paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


def test_redis_killed_while_all_wait(paced: PacedRig, reference: Reference) -> None:
    """Row 6: two workers stand waiting for work when Redis dies; each of them takes a training from the new one."""
    paced.start("redis", "scheduler", "all0", "all1")
    for name in ("all0", "all1"):
        paced.wait_for_log(name, "ready")
    for _ in range(2):
        paced.kill("redis")
        paced.start("redis")
    with paced.held("training"):
        plan = paced.submit(reference.batch)
        paced.wait_for_work(plan, units=2)
        assert len(set(paced.open_attempts(plan).values())) == 2, "both consume"
    paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


@pytest.mark.parametrize("way", ["flushall", "new and empty"])
def test_redis_loses_everything(paced: PacedRig, reference: Reference, way: str) -> None:
    """Row 7: messages, leases and marks are gone; storage knows what is missing. Work in progress is not disturbed."""
    paced.start("redis", "scheduler", "all0")
    with paced.held("training"):
        plan = paced.submit(reference.batch)
        paced.wait_for_work(plan)
        paced.wait(lambda: paced.client.llen(Queue.TRAIN.value) == 1, 300, "the other training waits in its queue")
        if way == "flushall":
            paced.client.flushall()
        else:
            paced.kill("redis")
            shutil.rmtree(paced.fleet / "appendonlydir", ignore_errors=True)
            (paced.fleet / "appendonly.aof").unlink(missing_ok=True)
            paced.start("redis")
        paced.wait(lambda: paced.client.llen(Queue.TRAIN.value) == 1, 300, "the message is back, from storage")
        assert len(paced.open_attempts(plan)) == 1
    paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


def test_work_goes_on_while_redis_is_away_for_longer_than_a_lease(paced: PacedRig, reference: Reference) -> None:
    """Row 8: every lease runs out while Redis is stopped. The scheduler is back first; it judges nobody lost."""
    paced.start("redis", "scheduler")
    with Proxy(paced.port) as proxy:
        paced.worlds["all0"] = paced.through(proxy)
        paced.start("all0")
        with paced.held("training"):
            plan = paced.submit(reference.batch)
            paced.wait_for_work(plan)
            working = paced.open_attempts(plan)
            stop_redis(paced)
            proxy.silence_all()
            time.sleep(LEASE_SECONDS * 1.5)
            paced.start("redis")
            paced.wait_for_log("scheduler", "going on")
            assert not paced.client.keys("nonet:lease:*"), "the lease ran out"
            proxy.speak()
            paced.wait(lambda: bool(paced.client.keys("nonet:lease:*")), 300, "the lease is taken again")
            assert paced.open_attempts(plan) == working
        paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


def test_work_is_published_while_redis_is_away(paced: PacedRig, reference: Reference) -> None:
    """Row 8: a training that ends while Redis is away commits; it is not run again."""
    paced.start("redis", "scheduler", "all0")
    with paced.held("training"):
        plan = paced.submit(reference.batch)
        paced.wait_for_work(plan)
        (key,) = paced.open_attempts(plan)
        stop_redis(paced)
        time.sleep(LEASE_SECONDS)
    paced.wait(lambda: key in paced.storage.committed("adapters"), 300, "publishing without Redis")
    paced.start("redis")
    paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


def test_redis_frozen_for_longer_than_a_lease(paced: PacedRig, reference: Reference) -> None:
    """Row 8, without a restart: leases run out inside a frozen Redis; their holders get the time to renew them."""
    paced.start("redis", "scheduler", "all0")
    with paced.held("training"):
        plan = paced.submit(reference.batch)
        paced.wait_for_work(plan)
        before = paced.open_attempts(plan)
        paced.kill("redis", signal.SIGSTOP)
        time.sleep(LEASE_SECONDS * 2)
        paced.kill("redis", signal.SIGCONT)
        paced.wait(lambda: bool(paced.client.keys("nonet:lease:*")), 300, "the lease is taken again")
        time.sleep(LEASE_SECONDS)
        assert paced.open_attempts(plan) == before, "nobody was judged lost"
    paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


@pytest.mark.parametrize("when", ["before the enqueue", "while it trains"])
def test_redis_at_its_memory_limit(paced: PacedRig, reference: Reference, when: str) -> None:
    """Row 23: 16 MB, noeviction, full. Redis refuses what needs memory; that is said, nobody dies, and it goes on."""
    paced.start("redis", "scheduler", "all0")
    paced.wait_for_log("all0", "ready")
    paced.client.config_set("maxmemory", "16mb")
    with paced.held("training"):
        if when == "while it trains":
            plan = paced.submit(reference.batch)
            paced.wait_for_work(plan)
        with full(paced):
            if when == "before the enqueue":
                plan = paced.submit(reference.batch)
            (paced.pace / "training.hold").unlink()
            paced.wait_for_log("scheduler", "paused, Redis is not well: .*used memory > 'maxmemory'")
            said = paced.nonet("status", plan.run, check=False)
            assert "Redis has no memory left and refuses work: raise its maxmemory" in said.stdout, said.stderr
            looked = paced.nonet("doctor", check=False)
            assert looked.returncode != 0
            assert "raise maxmemory" in looked.stdout
            time.sleep(LEASE_SECONDS)
            assert paced.processes["scheduler"].poll() is None
            assert paced.processes["all0"].poll() is None
    paced.finish(plan)
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


@contextmanager
def full(rig: PacedRig) -> Iterator[None]:
    """Redis without a byte to spare: what becomes free is taken at once."""
    client, stop, size, least = rig.client, threading.Event(), [2**16], 64

    def take() -> None:
        while not stop.is_set():
            try:
                client.rpush("junk", os.urandom(size[0]))
            except redis.exceptions.OutOfMemoryError:
                size[0] = max(least, size[0] // 2)  # what the refused one held is room again: it is taken, too
                time.sleep(0.001)

    taker = threading.Thread(target=take)
    taker.start()
    try:
        rig.wait(lambda: size[0] == least and refuses(client), 300, "a full Redis")
        yield
    finally:
        stop.set()
        taker.join()
        client.delete("junk")


def refuses(client: redis.Redis) -> bool:
    try:
        client.set("room", "x")
    except redis.exceptions.OutOfMemoryError:
        return True
    client.delete("room")
    return False


def stop_redis(rig: PacedRig) -> None:
    """Stop Redis in good order: it keeps what it knows."""
    process = rig.processes.pop("redis")
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def in_work(rig: PacedRig, keys: list[str]) -> set[str]:
    """Those of `keys` with an open attempt."""
    return {key for key in keys if (history := rig.attempts.history(key)) and history[-1].outcome is None}


def consumers(rig: PacedRig) -> set[str]:
    """Workers that answer a ping."""
    app = make_app(rig.url)
    try:
        return {name.split("@")[0] for reply in app.control.ping(timeout=1) for name in reply}
    except (redis.RedisError, OperationalError, OSError):
        return set()
    finally:
        app.close()
