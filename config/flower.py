"""Flower's configuration: where it listens, which columns show, how a task reads, what it keeps.

Knows Flower's options and the labels that the scheduler writes. Knows no broker: it is given the Celery app, so that
no address with a password is in an argument list.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from celery import Celery

from config.flower_login import FlowerSettings, keep_doors
from config.flower_pages import page_loader
from config.queues import Queue

log = logging.getLogger("nonet.flower")

COLUMNS = ("name", "args", "state", "result", "worker", "received", "runtime", "uuid")
"""Columns of Flower's task list. `args` holds the label of a task, `result` its progress and then what became of it."""
SAVE_MILLISECONDS = 10_000
"""Between two copies of the history on disk: what a kill can lose of it."""
INSPECT_MILLISECONDS = 30_000
"""Between two questions to the workers for their queues and settings, which their pages show."""
_AT_WORK = ("STARTED", "PROGRESS")


def flower_options(settings: FlowerSettings, port: int, folder: Path) -> dict[str, Any]:
    """Flower's options by their names; its history is kept in `folder`. Raises what `FlowerSettings.check` raises.

    Without a login, or where asked to, Flower only shows: it offers no button that stops a worker or a task.
    """
    return {
        **settings.options(),
        "address": settings.address,
        "port": port,
        "persistent": True,
        "db": str(folder / "flower"),
        "state_save_interval": SAVE_MILLISECONDS,
        "max_tasks": 20_000,
        "tasks_columns": ",".join(COLUMNS),
        "format_task": readable,
        "purge_offline_workers": 24 * 3600,
        "enable_events": True,
    }


def readable(task: Any) -> Any:
    """A copy of a task record of Flower's with its label and its outcome in words.

    A task that was at work on a worker that is gone is LOST: no event tells that, its missing heartbeat does.
    """
    if isinstance(task.args, str):
        task.args = task.args.strip("()")
    if task.state == "SUCCESS" and isinstance(task.result, str):
        task.result = _outcomes(task.result)
    if task.state == "FAILURE" and task.exception:
        task.result = task.exception
    if task.state in _AT_WORK and task.worker is not None and not task.worker.alive:
        task.state = "LOST"
    return task


def _outcomes(result: str) -> str:
    """`{'all/test-000': 'committed'}`, as a task returns it, as `all/test-000: committed`."""
    import ast

    try:
        outcomes = ast.literal_eval(result)
    except (ValueError, SyntaxError):
        return result  # cut off by Celery where it is long
    return "; ".join(f"{name}: {text}" for name, text in outcomes.items()) if isinstance(outcomes, Mapping) else result


def name_queues(app: Celery) -> None:
    """Have Flower's broker page list Nonet's queues, also while no worker is up."""
    from kombu import Queue as Entry

    app.conf.update(task_queues=[Entry(queue.value) for queue in Queue], task_default_queue=Queue.CPU.value)


def run_flower(app: Celery, settings: FlowerSettings, port: int, folder: Path, page: str) -> None:
    """Serve Flower on `app` until SIGTERM or SIGINT. Raises ValueError for an address that needs a login, OSError."""
    from flower.app import Flower
    from flower.options import options
    from flower.urls import settings as web
    from tornado.ioloop import PeriodicCallback

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, value in flower_options(settings, port, folder).items():
        setattr(options, name, value)
    logging.getLogger("tornado.access").setLevel(logging.ERROR)
    pages = {"template_loader": page_loader(str(web["template_path"]), page), "cookie_secret": options.cookie_secret}
    if settings.oauth is not None:
        pages["oauth"] = settings.oauth_client()
    keep_doors(settings.logins())
    flower = Flower(capp=app, options=options, **{**web, **pages})

    name_queues(app)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    inspection = PeriodicCallback(flower.update_workers, INSPECT_MILLISECONDS)
    bound = flower.start_http_server()
    log.info("Flower on http://%s:%s", settings.address, bound)
    try:
        inspection.start()
        flower.start()
    except (KeyboardInterrupt, SystemExit):
        log.info("ending")
    finally:
        flower.stop()
