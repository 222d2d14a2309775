"""The webhook, against a real HTTP server: told once of every end, by one of two schedulers, again after an error."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scheduler.notify import Notifier
from scheduler.state import Phase
from tests.faults.paced import PacedRig, World
from tests.small_batch import DEMO, write_batch

POISON = json.loads((DEMO / "test.jsonl").read_text("utf-8").splitlines()[0])["id"]


class Hook(ThreadingHTTPServer):
    """A webhook that answers the first request with 500 and remembers what it took after that."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.refused: list[dict[str, Any]] = []
        self.taken: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/a-secret-token"


class _Answer(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        notice = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Idempotency-Key"] == notice["id"]
        assert self.path == "/hooks/a-secret-token"
        first = not self.server.refused
        (self.server.refused if first else self.server.taken).append(notice)
        self.send_response(500 if first else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.shutdown()
    hook.server_close()


@pytest.mark.timeout(600)
def test_every_end_is_told_once(tmp_path: Path, hook: Hook) -> None:
    settings = {"NONET_WEBHOOK_URL": hook.url, "NONET_PACE_POISON": POISON, "NONET_FAILURE_LIMIT": "2"}
    with PacedRig(tmp_path / "rig", **settings) as rig:
        rig.start("redis", "scheduler", "scheduler2", "all0")
        plan = rig.submit(write_batch(tmp_path / "batch"))
        rig.wait(lambda: bool(hook.taken), 150, "the notice of a blocked run")
        (blocked,) = hook.taken
        assert hook.refused == [blocked], "told again, the same, after an error"
        assert (blocked["event"], blocked["run"], blocked["scores"]) == ("run.blocked", plan.run, None)
        assert blocked["failures"] == len(plan.adapters)
        assert {failed["name"] for failed in blocked["failed"]} == {f"{a.name}/test-000" for a in plan.adapters}
        assert {failed["error_class"] for failed in blocked["failed"]} == {"worker_lost"}
        assert plan.run in blocked["text"]
        assert "test-000" in blocked["text"]

        rig.kill("all0")
        rig.worlds["all1"] = World({"NONET_PACE_POISON": ""})
        rig.start("all1")
        rig.nonet("rerun", "--failed")
        rig.wait(lambda: len(hook.taken) > 1, 150, "the notice of a complete run")
        _, complete = hook.taken
        assert (complete["event"], complete["failed"]) == ("run.complete", [])
        assert 0 <= complete["scores"]["validation"]["vote"] <= 1
        assert set(complete["scores"]["validation"]["members"]) == {adapter.name for adapter in plan.adapters}
        assert complete["scores"]["gold"] is None, "nobody has scored it"
        assert Path(complete["submission"]).read_bytes() == rig.submission(plan)

        for name in ("scheduler", "scheduler2"):
            rig.kill(name)
        rig.start("scheduler3")
        rig.wait_for_log("scheduler3", "complete")
        time.sleep(3)
        assert len(hook.taken) == 2, "a scheduler started again tells nothing again"
        assert not any("a-secret-token" in rig.log_of(name) for name in ("scheduler", "scheduler2", "scheduler3"))


def test_a_webhook_that_does_not_answer_holds_nobody_up(tmp_path: Path) -> None:
    with socket.socket() as silent, PacedRig(tmp_path / "rig") as rig:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        rig.start("redis")
        plan = rig.submit(write_batch(tmp_path / "batch"))
        rig.nonet("cancel", plan.run)
        state = rig.state(plan)
        assert state.phase is Phase.CANCELLED
        notifier = Notifier(f"http://127.0.0.1:{silent.getsockname()[1]}/", rig.storage, rig.client)
        begun = time.monotonic()
        notifier.tell(state)
        notifier.tell(state)
        assert time.monotonic() - begun < 1
        notifier.close()
