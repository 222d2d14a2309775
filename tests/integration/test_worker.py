"""A worker on a real Redis: what it refuses, and that it goes on."""

from __future__ import annotations

from tasks.app import make_app
from tests.rig import Rig


def test_foreign_messages_do_no_harm(rig: Rig) -> None:
    """Text, half a message, an unknown task, a task for a run that is none: the worker answers pings after each."""
    rig.start("redis", "w0")
    app = make_app(rig.settings.redis())
    rig.wait(lambda: bool(app.control.ping(timeout=1)), 30, "the worker answers")
    rig.client.lpush("train", "not json", '{"body": "x", "headers": {}, "properties": {}}', "[]", "\xff")
    app.send_task("nonet.unknown", queue="train")
    app.send_task("nonet.train", kwargs={"run": "../../outside", "keys": ["../x"]}, queue="train")
    app.send_task("nonet.infer", kwargs={"run": "none", "shard": "s", "keys": 3}, queue="infer")
    rig.wait(lambda: rig.client.llen("train") == 0 and rig.client.llen("infer") == 0, 30, "empty queues")
    assert app.control.ping(timeout=2), "the worker lives"
    assert rig.processes["w0"].poll() is None
    log = (rig.logs / "w0.log").read_text()
    assert log.count("dropped a message that is not one of Celery's") == 4
    assert "'../../outside' is not a name" in log
    app.close()


def test_password_is_nowhere_to_be_seen(rig: Rig) -> None:
    """Not in the arguments of any process, nor in a log."""
    rig.start_all(workers=1)
    password = rig.settings.redis().split(":")[2].split("@")[0]
    app = make_app(rig.settings.redis())
    rig.wait(lambda: len(app.control.ping(timeout=1)) == 2, 30, "both workers answer")
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        assert password not in " ".join(process.info["cmdline"] or [])
    for log in rig.logs.glob("*.log"):
        assert password not in log.read_text()
    app.close()
