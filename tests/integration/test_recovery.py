"""Kill what can be killed in the middle of a run: it completes, and its submission is the undisturbed one."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import psutil

from nonet.runs.plan import ADAPTERS, Plan
from scheduler.state import Phase
from tests.promises import check_promises
from tests.rig import Rig
from tests.undisturbed import Undisturbed


def test_undisturbed_run_executes_each_unit_once(rig: Rig, undisturbed: Undisturbed) -> None:
    rig.start_all(workers=2)
    plan = rig.submit(undisturbed.batch)
    rig.wait_for_phase(plan, Phase.COMPLETE)
    assert rig.adapter_digests(plan) == undisturbed.adapters, "two workers give the adapters that one gave"
    check_promises(rig, plan, expected=undisturbed.submission, extra_executions=0)
    rig.nonet("submit", str(undisturbed.batch))
    assert rig.state(plan).phase is Phase.COMPLETE, "submitted again, it is the same run, and complete"


def test_killed_worker_wiped_redis_killed_scheduler(rig: Rig, undisturbed: Undisturbed) -> None:
    rig.start_all(workers=1)
    plan = rig.submit(undisturbed.batch)
    rig.wait_for_step(plan, 0, 5)
    rig.kill("w0")
    rig.wait(lambda: not rig.compute_processes(), 5, "the compute process ends with its worker")
    rig.start("w0")
    rig.wait(lambda: cell_is_open(rig, plan), 180, "a shard in work")
    rig.kill("w0")
    rig.client.flushall()
    rig.kill("scheduler")
    rig.start("w0", "scheduler")
    rig.wait_for_phase(plan, Phase.COMPLETE)
    assert rig.adapter_digests(plan) == undisturbed.adapters
    check_promises(rig, plan, expected=undisturbed.submission, extra_executions=1 + len(plan.adapters))
    trained = rig.storage.read(ADAPTERS, plan.adapters[0].key)
    assert trained is not None
    assert trained.body["training"]["resumed_from"], "the second attempt at the training went on from its checkpoint"


def test_cell_that_fails_for_good_is_rerun_alone(rig: Rig, undisturbed: Undisturbed) -> None:
    rig.start_all(workers=1)
    plan = rig.submit(undisturbed.batch)
    bad = plan.cells[-1]
    with KillsItsProcess(rig, bad.key):
        rig.wait_for_phase(plan, Phase.BLOCKED)
    state = rig.state(plan)
    assert [u.name for u in state.failed] == [bad.name]
    before = {name: len(history) for name, history in rig.executions(plan).items()}
    listed = rig.nonet("rerun", plan.run, "--failed", "--dry-run").stdout
    assert bad.name in listed
    assert rig.state(plan).failed, "a dry run changes nothing"
    rig.nonet("rerun", plan.run, "--failed")
    rig.wait_for_phase(plan, Phase.COMPLETE)
    after = {name: len(history) for name, history in rig.executions(plan).items()}
    assert {n for n in after if after[n] != before.get(n, 0)} == {bad.name, "vote"}
    assert after[bad.name] == before[bad.name] + 1
    assert rig.submission(plan) == undisturbed.submission


def cell_is_open(rig: Rig, plan: Plan) -> bool:
    histories = (rig.attempts.history(c.key) for c in plan.cells)
    return any(h and h[-1].outcome is None for h in histories)


class KillsItsProcess:
    """While in force, the compute process is killed whenever it works on `key`."""

    def __init__(self, rig: Rig, key: str) -> None:
        self._rig = rig
        self._key = key
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> KillsItsProcess:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        folder = self._rig.storage.home.attempts(self._key)
        while not self._stop.is_set():
            time.sleep(0.002)
            if not folder.exists():
                continue
            epoch = self._rig.attempts.latest(self._key)
            if epoch and self._rig.attempts.is_current(self._key, epoch):
                for process in psutil.Process(self._rig.processes["w0"].pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):  # it ended between the look and the kill
                        if "nonet.compute" in process.cmdline():
                            process.kill()
