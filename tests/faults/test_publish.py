"""Publishing killed at each step, frozen in its last moment, delivered twice: one result, old or new, never torn."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from config.queues import INFER_TASK, TRAIN_TASK, VOTE_TASK
from nonet.runs.attempt import Attempts
from nonet.runs.plan import ADAPTERS, VOTES
from nonet.runs.result import write_result
from nonet.stores.home import Home
from nonet.stores.storage import Published, Storage
from nonet.voting.aggregation import aggregate, spec_of
from scheduler.state import Phase
from tasks.app import make_app
from tests.faults.kills import FILE_STEPS, dies_at, fork, in_child
from tests.faults.paced import PacedRig, Reference, World
from tests.promises import check_promises
from tests.rig import ROOT

DYING = Path(__file__).parent / "dying"
KEY = "a" * 64
PLACES = {
    "adapter before its commit": "link|before|/commits/adapters/",
    "adapter after its commit": "link|after|/commits/adapters/",
    "ballots before their commit": "link|before|/commits/ballots-",
    "ballots after their commit": "link|after|/commits/ballots-",
    "before an outcome": "link|before|.end.json",
    "before the submission": "replace|before|/submission.jsonl",
    "between submission and manifest": "replace|before|/submission.jsonl.manifest.json",
    "before the vote's commit": "link|before|/commits/votes/",
    "after the vote's commit": "link|after|/commits/votes/",
}


def test_publish_killed_at_each_step(tmp_path: Path) -> None:
    """Row 5: kill -9 before every change of the storage. Nothing or all is seen; the next epoch removes the rest."""
    storage, attempts = Storage(Home(tmp_path)), Attempts(Home(tmp_path))
    committed = 0
    for step in range(1, 100):
        epoch = begin(attempts)
        storage.fence(ADAPTERS, KEY, epoch)
        assert not list(found(tmp_path, "blobs")), "the staging of killed epochs is gone"
        assert not [p for p in found(tmp_path, "commits") if p.name.startswith(".part-")], "and so are their parts"
        code = in_child(partial(dies_at, os, FILE_STEPS, step, publishing(storage, epoch)))
        commit = Storage(storage.home).read(ADAPTERS, KEY)  # raises when torn
        if commit is not None:
            committed += code != 0
            assert storage.path(commit.files["weights"]).read_bytes() == b"%d" % commit.epoch
            assert commit.epoch == epoch
            storage.sweep(ADAPTERS, [KEY])
            assert {p.name for p in found(tmp_path, "blobs")} == {"weights"}
            assert {p.name for p in found(tmp_path, "commits")} == {f"{KEY}.json"}
            (storage.home.commits(ADAPTERS) / f"{KEY}.json").unlink()
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert step > 8, f"a publish has more steps than {step}"
    assert committed >= 1, "some kills come after the commit"


@pytest.mark.parametrize("moment", ["mkdir", "link"], ids=["before it looks", "after it has looked"])
def test_publisher_frozen_in_its_last_moment(tmp_path: Path, moment: str) -> None:
    """Rows 3 and 5: it stands still just before or after it sees that its epoch is current; a newer one begins."""
    storage, attempts = Storage(Home(tmp_path)), Attempts(Home(tmp_path))
    epoch = begin(attempts)
    operation = getattr(os, moment)

    def freezing(*arguments: object, **options: object) -> None:
        setattr(os, moment, operation)  # once
        os.kill(os.getpid(), signal.SIGSTOP)
        operation(*arguments, **options)

    child = fork()
    if child == 0:
        setattr(os, moment, freezing)
        published = storage.publish(ADAPTERS, KEY, epoch, current=lambda: attempts.is_current(KEY, epoch))
        os._exit(0 if published is Published.STALE else 1)
    _, status = os.waitpid(child, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    newer = begin(attempts)
    storage.fence(ADAPTERS, KEY, newer)
    os.kill(child, signal.SIGCONT)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the stale epoch published"
    assert not storage.has(ADAPTERS, KEY)
    assert publishing(storage, newer)() is Published.COMMITTED


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_worker_killed_while_it_publishes(paced: PacedRig, reference: Reference, tmp_path: Path, place: str) -> None:
    """Rows 5 and 18: the whole way from a dead worker to the same submission, and nothing left lying about."""
    mark = tmp_path / "died"
    path = f"{DYING}{os.pathsep}{ROOT}"
    paced.worlds["all0"] = World({"NONET_TEST_DIE": f"{place}|{mark}", "PYTHONPATH": path})
    paced.start("redis", "scheduler", "all0")
    plan = paced.submit(reference.batch)
    paced.wait(mark.exists, 300, "the kill")
    paced.finish(plan)
    assert paced.adapter_digests(plan) == reference.adapters
    check_promises(paced, plan, expected=reference.submission, extra_executions=2)


def test_aggregation_killed_at_each_step(paced: PacedRig, reference: Reference) -> None:
    """Row 18: kill -9 before every change that the vote makes; each file of the result is whole or not there."""
    paced.start("redis", "scheduler", "all0")
    plan = paced.submit(reference.batch)
    paced.finish(plan)
    storage, home = paced.storage, paced.storage.home
    paced.kill("scheduler")
    submission, manifest = (home.submission(plan.run, f"{plan.submission}{end}") for end in ("", ".manifest.json"))
    wanted = submission.read_bytes(), manifest.read_bytes()

    def vote() -> None:
        result = aggregate(storage, plan, spec_of(plan))
        write_result(home, plan, result.submission, result.manifest)

    for step in range(1, 100):
        submission.unlink(missing_ok=True)
        manifest.unlink(missing_ok=True)
        code = in_child(lambda step=step: dies_at(os, FILE_STEPS, step, vote))  # type: ignore[misc]
        for path, content in zip((submission, manifest), wanted, strict=True):
            assert not path.exists() or path.read_bytes() == content, f"{path.name} is torn"
        if code == 0:
            break
    assert step > 4
    assert (submission.read_bytes(), manifest.read_bytes()) == wanted
    submission.unlink()
    paced.start("scheduler")
    paced.finish(plan)
    again = paced.nonet("vote", plan.run).stdout
    assert Path(again.strip().rsplit("submission: ", 1)[1]).read_bytes() == reference.submission
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)


def test_the_same_task_sent_five_times(paced: PacedRig, reference: Reference) -> None:
    """Row 12: trainings, shards and the vote, each five times, to two workers at once: one execution publishes."""
    paced.start("redis")
    plan = paced.submit(reference.batch)
    app = make_app(paced.url)

    def five_times(task: str, **kwargs: object) -> None:
        for _ in range(5):
            app.send_task(task, kwargs={"run": plan.run, **kwargs})

    first = plan.adapters[0].key
    five_times(TRAIN_TASK, keys=[first])
    with paced.held("training"):
        paced.start("all0", "all1")
        paced.wait(lambda: receipts(paced, "nonet.train") >= 4, 300, "four refusals")
        assert paced.log_of("all0").count("held by another") + paced.log_of("all1").count("held by another") == 4
    paced.wait(lambda: receipts(paced, "nonet.train") == 5, 300, "one execution")
    shard = plan.shards[0]
    cells = [c for c in plan.cells if c.shard == shard and c.adapter.key == first]
    with paced.held("answering"):
        five_times(INFER_TASK, shard=shard.name, keys=[c.key for c in cells])
        paced.wait(lambda: receipts(paced, "nonet.infer") >= 4, 300, "four refusals")
    paced.start("scheduler")
    paced.finish(plan)
    five_times(VOTE_TASK, keys=[plan.vote_key(plan.vote, plan.cells)])
    paced.wait(lambda: receipts(paced, "nonet.vote") >= 6, 300, "refusals")
    assert len(paced.storage.committed(VOTES)) == 1
    assert paced.state(plan).phase is Phase.COMPLETE
    check_promises(paced, plan, expected=reference.submission, extra_executions=0)
    app.close()


def begin(attempts: Attempts) -> int:
    attempt = attempts.begin(KEY, host="h", worker="w", run="r", log=attempts.home.log(KEY, 1), group=1)
    assert attempt is not None
    return attempt.epoch


def publishing(storage: Storage, epoch: int, current: Callable[[], bool] = lambda: True) -> Callable[[], Published]:
    """Stages and publishes a file that says which epoch made it."""

    def publish() -> Published:
        folder = storage.staging(KEY, epoch)
        (folder / "weights").write_bytes(b"%d" % epoch)
        return storage.publish(ADAPTERS, KEY, epoch, folder=folder, body={"epoch": epoch}, current=current)

    return publish


def receipts(rig: PacedRig, task: str) -> int:
    """How many messages of `task` the workers are done with."""
    logs = "".join(rig.log_of(name) for name in ("all0", "all1")).splitlines()
    return sum(f"Task {task}[" in line and (" succeeded in " in line or " raised " in line) for line in logs)


def found(root: Path, folder: str) -> Iterator[Path]:
    return (p for p in (root / folder).rglob("*") if p.is_file())
