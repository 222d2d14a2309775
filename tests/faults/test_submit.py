"""Submits and schedulers killed at every step, schedulers side by side: a run is whole or not there, and runs once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import redis.connection

from config.batch import load_batch
from config.queues import Queue
from nonet.bases.fingerprint import identify_base
from nonet.stores.storage import Storage
from scheduler.inflight import message_keys
from scheduler.loop import Scheduler
from scheduler.plan import Draft, draft
from scheduler.submit import submit
from tasks.app import make_app
from tasks.context import connect
from tests.faults.kills import FILE_STEPS, dies_at, in_child
from tests.faults.paced import PacedRig, Reference
from tests.promises import check_promises


def test_submit_killed_at_each_step(paced: PacedRig, reference: Reference) -> None:
    """Row 17: kill -9 before each change of the storage. No run is seen before it is whole; the repeat completes it."""
    drafted, text = drafted_batch(reference.batch)
    run = drafted.plan.run

    def one_submit() -> None:
        submit(Storage(paced.storage.home), drafted, text)

    for step in range(1, 200):
        code = in_child(lambda step=step: dies_at(os, FILE_STEPS, step, one_submit))  # type: ignore[misc]
        plan = paced.storage.home.plan(run)
        if plan.exists():
            assert plan.read_bytes() == drafted.plan.to_json(), "a plan that is seen is whole"
            assert all(paced.storage.read_input(name) for name in drafted.inputs), "and so are its inputs"
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert step > 10, f"a submit has more steps than {step}"
    assert [path.name for path in paced.storage.home.runs.iterdir()] == [run]
    paced.start("redis", "scheduler", "all0")
    paced.nonet("submit", str(reference.batch))
    paced.finish(drafted.plan)
    check_promises(paced, drafted.plan, expected=reference.submission, extra_executions=0)


def test_scheduler_killed_at_each_step_of_a_dispatch(paced: PacedRig, reference: Reference) -> None:
    """Row 17: kill -9 before each command to Redis. The next schedulers enqueue what is missing, and nothing twice."""
    paced.start("redis")
    drafted, text = drafted_batch(reference.batch)
    submit(paced.storage, drafted, text)
    wanted = {a.key for a in drafted.plan.adapters}
    commands = redis.connection.AbstractConnection
    for step in range(1, 200):
        code = in_child(lambda step=step: dies_at(commands, ("send_packed_command",), step, one_tick(paced)))  # type: ignore[misc]
        queued = queued_keys(paced)
        assert set(queued) <= wanted
        assert not queued or max(queued.values()) == 1, "a scheduler that finds a message does not send another"
        if code == 0 and set(queued) == wanted:
            break
        assert code in (0, -signal.SIGKILL)
        expire_marks(paced)
    assert step > 10, f"a dispatch has more steps than {step}"
    paced.start("scheduler", "all0")
    paced.finish(drafted.plan)
    check_promises(paced, drafted.plan, expected=reference.submission, extra_executions=0)


def test_nothing_is_sent_again_between_queue_and_lease(paced: PacedRig, reference: Reference) -> None:
    """Row 17: a worker has just taken a message and has no lease yet; another scheduler looks in this moment."""
    paced.start("redis")
    drafted, text = drafted_batch(reference.batch)
    submit(paced.storage, drafted, text)
    assert in_child(one_tick(paced)) == 0
    assert sum(queued_keys(paced).values()) == len(drafted.plan.adapters)
    paced.client.delete(Queue.TRAIN.value)
    assert in_child(one_tick(paced)) == 0
    assert not queued_keys(paced), "the marks of the first scheduler hold the second back"
    expire_marks(paced)
    assert in_child(one_tick(paced)) == 0
    assert sum(queued_keys(paced).values()) == len(drafted.plan.adapters), "a message that was lost comes again"


def test_schedulers_side_by_side(paced: PacedRig, reference: Reference) -> None:
    """Row 17: two schedulers from the start, one killed and started again midway; the batch is submitted twice."""
    paced.start("redis", "scheduler", "scheduler-2", "all0", "all1")
    with paced.held("answering"):
        plan = paced.submit(reference.batch)
        paced.wait(lambda: bool(set(paced.open_attempts(plan)) & {c.key for c in plan.cells}), 300, "a shard in work")
        paced.kill("scheduler-2")
        paced.start("scheduler-2")
        paced.nonet("submit", str(reference.batch))
    paced.finish(plan)
    assert [path.name for path in paced.storage.home.runs.iterdir()] == [plan.run], "submitting again is the same run"
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


def drafted_batch(path: Path) -> tuple[Draft, str]:
    """A batch file as `nonet submit` has it before it writes anything."""
    batch = load_batch(path)
    (base,) = batch.bases
    return draft(batch, [identify_base(base.model, base.revision, path.parent)], "transformers"), batch.text


def one_tick(rig: PacedRig) -> Callable[[], None]:
    """What a scheduler does once."""

    def tick() -> None:
        Scheduler(rig.settings, connect(rig.url), make_app(rig.url)).tick()

    return tick


def queued_keys(rig: PacedRig) -> Counter[str]:
    """How many messages hold each key."""
    return Counter(k for q in Queue for m in rig.client.lrange(q.value, 0, -1) for k in message_keys(m))


def expire_marks(rig: PacedRig) -> None:
    """Let the marks of a scheduler that died run out, as they do after one lease."""
    for name in rig.client.keys("nonet:sent:*"):
        rig.client.delete(name)
