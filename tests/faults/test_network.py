"""Connections that lie: half-open ones, cut ones, and a worker that reaches only one of Redis and storage."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from nonet.runs.attempt import Attempt, Outcome
from tasks.app import make_app
from tests.faults.paced import PacedRig, Reference, World
from tests.faults.proxy import Cut, Proxy, Way
from tests.promises import check_promises

WITHIN = 60.0
"""Seconds in which a fleet must have recovered from connections that carry nothing any more."""
MESSAGE = 600
"""Bytes; only Celery messages are larger, in either direction."""


@pytest.mark.parametrize("work", ["idle", "training"])
def test_half_open_connections(paced: PacedRig, reference: Reference, work: str) -> None:
    """Row 9: all connections of scheduler and worker stay open and carry nothing; both notice and connect anew."""
    paced.start("redis")
    with Proxy(paced.port) as proxy:
        paced.worlds |= {name: paced.through(proxy) for name in ("scheduler", "all0")}
        paced.start("scheduler", "all0")
        paced.wait_for_log("all0", "ready")
        if work == "idle":
            paced.wait_for_log("scheduler", "scheduler on")
            assert proxy.silence_present() >= 3
            plan = paced.submit(reference.batch)
        else:
            with paced.held("training"):
                plan = paced.submit(reference.batch)
                paced.wait_for_work(plan)
                assert proxy.silence_present() >= 3
        paced.finish(plan, WITHIN)
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


CUTS = {
    "an enqueue, inside its message": ("scheduler", Cut(Way.UP, MESSAGE, 300)),
    "the answer to an enqueue that was carried out": ("scheduler", Cut(Way.UP, MESSAGE, 1, answer=True)),
    "a delivery, inside its message": ("all0", Cut(Way.DOWN, MESSAGE, 300)),
    "the answer to a lease that was taken": ("all0", Cut(Way.UP, 300, 1, answer=True)),
}


@pytest.mark.parametrize("place", CUTS)
def test_connection_cut_inside_a_frame(paced: PacedRig, reference: Reference, place: str) -> None:
    """Row 10: at each place where an enqueue could be lost or doubled, three times in one run."""
    name, cut = CUTS[place]
    paced.start("redis")
    with Proxy(paced.port) as proxy:
        paced.worlds[name] = paced.through(proxy)
        paced.start("scheduler", "all0")
        paced.wait_for_log("all0", "ready")
        proxy.cut(cut, cut, cut)
        plan = paced.submit(reference.batch)
        paced.finish(plan)
        assert proxy.cuts == 3, "the faults happened"
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


def test_connections_cut_everywhere(paced: PacedRig, reference: Reference) -> None:
    """Row 10: a storm, cutting pieces of any size at random places, from both sides, seeded."""
    chance = random.Random(10)
    cuts = [Cut(chance.choice(list(Way)), larger, chance.randrange(larger + 1)) for larger in _sizes(chance, 40)]
    paced.start("redis")
    with Proxy(paced.port) as proxy:
        paced.worlds |= {name: paced.through(proxy) for name in ("scheduler", "all0")}
        paced.start("scheduler", "all0")
        paced.wait_for_log("all0", "ready")
        proxy.cut(*cuts)
        plan = paced.submit(reference.batch)
        paced.finish(plan)
        assert proxy.cuts >= 10, "the faults happened"
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


def test_worker_reaches_storage_but_not_redis(paced: PacedRig, reference: Reference) -> None:
    """Row 11: its lease runs out and the work goes to another; it learns from storage that it is stale."""
    paced.start("redis", "scheduler")
    pace = paced.pace.with_name("pace-of-w0")
    pace.mkdir()
    (pace / "training.hold").touch()
    with Proxy(paced.port) as proxy:
        paced.worlds["all0"] = paced.through(proxy, NONET_PACE=str(pace))
        paced.start("all0")
        plan = paced.submit(reference.batch)
        paced.wait_for_work(plan)
        (key,) = paced.open_attempts(plan)
        proxy.silence_all()
        paced.start("all1")
        paced.finish(plan)
        first, second = paced.attempts.history(key)
        assert maker(first) == (Outcome.LOST, "all0")
        assert "lease ran out" in (first.error or "")
        assert maker(second) == (Outcome.COMMITTED, "all1")
        paced.wait(lambda: not computing(paced, "all0"), 300, "the stale training is stopped")
        (pace / "training.hold").unlink()
        proxy.speak()
        paced.wait(lambda: answers(paced) == {"all0", "all1"}, WITHIN, "the worker is back in the fleet")
    check_promises(paced, plan, expected=reference.submission, extra_executions=1)


@pytest.mark.parametrize("when", ["before it takes work", "while it trains"])
def test_worker_reaches_redis_but_not_storage(paced: PacedRig, reference: Reference, when: str) -> None:
    """Row 11, the reverse: for one worker the home is an empty folder, as where a network file system is not mounted.

    It refuses in a sentence and leaves the queue to others; nothing that it does counts.
    """
    paced.worlds["all0"] = World(prefix=("unshare", "--mount", "--propagation", "private"))
    paced.start("redis", "scheduler", "all0")
    paced.wait_for_log("all0", "ready")
    if when == "before it takes work":
        hide_home(paced, "all0")
        plan = paced.submit(reference.batch)
        paced.wait_for_log("all0", "does not reach the storage")
        paced.start("all1")
        extra = 0
    else:
        with paced.held("training"):
            plan = paced.submit(reference.batch)
            paced.wait_for_step(plan, 0, 1)
            hide_home(paced, "all0")
            paced.wait(lambda: not computing(paced, "all0"), 300, "the work without a storage is stopped")
        paced.start("all1")
        extra = 1
    paced.finish(plan)
    assert {w for who in paced.committers(plan).values() for w in who} == {f"all1@{paced.settings.host}"}
    check_promises(paced, plan, expected=reference.submission, extra_executions=extra)


def _sizes(chance: random.Random, count: int) -> Sequence[int]:
    return [chance.choice((3, 20, 60, 120, 300, MESSAGE)) for _ in range(count)]


def hide_home(rig: PacedRig, name: str) -> None:
    """Mount an empty file system over the home, for the process `name` and its children only."""
    rig.home.mkdir(exist_ok=True)
    rig.inside(name, "mount", "-t", "tmpfs", "-o", "size=1m", "none", str(rig.home))


def computing(rig: PacedRig, name: str) -> bool:
    """Whether the worker `name` has a compute process."""
    parents = {p.pid for p in rig.family(name)}
    return any(p.pid in parents for p in rig.compute_processes())


def maker(attempt: Attempt) -> tuple[Outcome | None, str]:
    """How an attempt ended, and at whose hands."""
    return attempt.outcome, attempt.worker.split("@")[0]


def answers(rig: PacedRig) -> set[str]:
    """Workers that answer a ping."""
    app = make_app(rig.url)
    try:
        return {name.split("@")[0] for reply in app.control.ping(timeout=1) for name in reply}
    finally:
        app.close()
