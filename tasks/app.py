"""The Celery app: configuration and the three tasks. Knows the broker's URL; makes nothing at import.

Messages are acknowledged when a worker takes them, and nothing is prefetched: a message that is lost with its worker
is enqueued again by the scheduler, which reads storage, so that no visibility timeout can deliver a long training
twice.
"""

from __future__ import annotations

from celery import Celery
from kombu.utils.url import parse_url

from config.queues import INFER_TASK, QUEUE_OF, TRAIN_TASK, VOTE_TASK
from tasks.context import SOCKET_SECONDS
from tasks.failure import WorkFailedError
from tasks.infer import infer
from tasks.train import train
from tasks.transport import harden
from tasks.vote import vote

_TASKS = {TRAIN_TASK: train, INFER_TASK: infer, VOTE_TASK: vote}


def make_app(redis_url: str) -> Celery:
    """A Celery app on the Redis at `redis_url` with Nonet's tasks registered."""
    harden()
    app = Celery("nonet", broker=redis_url, set_as_current=False)
    tls = parse_url(redis_url).get("ssl")
    if tls:  # kombu has it from the URL, Flower's page of queues asks the configuration
        app.conf.broker_use_ssl = tls
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        task_send_sent_event=True,
        task_track_started=True,
        task_routes={task: {"queue": queue.value} for task, queue in QUEUE_OF.items()},
        task_create_missing_queues=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # a Redis that is full or read-only refuses commands: reconnect, do not end
        broker_transport_options={
            "queue_order_strategy": "priority",
            "socket_timeout": SOCKET_SECONDS,
            "socket_connect_timeout": 4,
            "socket_keepalive": True,
            "health_check_interval": 5,
            # of a connection that sends (messages, events): kombu would wait for Redis forever, and a training with it
            "max_retries": 1,
            "interval_start": 0.2,
            "interval_step": 0.2,
            "interval_max": 1.0,
        },
        worker_hijack_root_logger=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        enable_utc=True,
    )
    for name, function in _TASKS.items():
        app.task(function, name=name, bind=True, throws=(WorkFailedError,))
    return app
