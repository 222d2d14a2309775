"""Dispatch: sends what was decided to the queues. Knows Celery and the marks that keep two schedulers apart."""

from __future__ import annotations

import redis
from celery import Celery

from config.queues import SENT_AT, sent_name
from scheduler.reconcile import Message
from tasks.line import Line


def dispatch(app: Celery, line: Line, client: redis.Redis, message: Message, mark_seconds: float) -> bool:
    """Enqueue `message` less the keys that another scheduler has just enqueued; False when none is left.

    A mark bridges the way from the queue to the lease of the worker, for `mark_seconds` should that not remove it.
    Raises redis.RedisError or kombu.exceptions.OperationalError.
    """
    marks = client.pipeline(transaction=False)
    for key in message.keys:
        marks.set(sent_name(key), "1", nx=True, px=int(mark_seconds * 1000))
    marks.time()
    *won, (seconds, microseconds) = marks.execute()
    keys = [key for key, mine in zip(message.keys, won, strict=True) if mine]
    if not keys:
        return False
    kwargs: dict[str, object] = {"run": message.run, "keys": keys}
    if message.shard is not None:
        kwargs["shard"] = message.shard
    with line.connection() as connection:
        app.send_task(
            message.task,
            kwargs=kwargs,
            queue=message.queue.value,
            headers={SENT_AT: seconds + microseconds / 1e6},
            argsrepr=f"({message.label})",
            kwargsrepr=repr(kwargs),
            producer=app.amqp.Producer(connection, auto_declare=False),
            retry=False,
        )
    return True
