"""The queue table: the one home of queue names, task names and Redis keys. Knows names only."""

from __future__ import annotations

from enum import StrEnum


class Queue(StrEnum):
    """Celery queues, by what a worker must have to take from them."""

    TRAIN = "train"
    INFER = "infer"
    CPU = "cpu"


TRAIN_TASK = "nonet.train"
INFER_TASK = "nonet.infer"
VOTE_TASK = "nonet.vote"

QUEUE_OF = {TRAIN_TASK: Queue.TRAIN, INFER_TASK: Queue.INFER, VOTE_TASK: Queue.CPU}

WAKE = "nonet:wake"
"""Redis list: a push wakes the schedulers."""
EPOCH_MARK = "nonet:alive"
"""Redis key that names the life (run id) of the Redis in which leases were last seen to be kept."""
SETTLING = "nonet:settling"
"""Redis key that stands for one lease after Redis was away or lost its memory: living holders take theirs again."""
WORKERS = "nonet:workers"
"""Redis set of the workers that have announced themselves."""


def refusal_name(run: str, worker: str) -> str:
    """Redis key of why a worker lately left work of a run to others."""
    return f"nonet:refusal:{run}:{worker}"


def worker_name(worker: str) -> str:
    """Redis key of what a worker has announced of itself."""
    return f"nonet:worker:{worker}"


VITALS = "nonet:vitals:"
"""Redis keys under which living processes tell what they are (tasks.vitals)."""
SENT_AT = "nonet_sent_at"
"""Header of a message: when it was enqueued, in seconds since 1970 on Redis's clock."""


def vitals_name(role: str, name: str) -> str:
    """Redis key of the vital signs of one process."""
    return f"{VITALS}{role}:{name}"


def telling_name(ending: str) -> str:
    """Redis key of the scheduler that tells a webhook of an end of a run at this moment."""
    return f"nonet:telling:{ending}"


def lease_name(key: str) -> str:
    """Redis key of the lease on an artifact key."""
    return f"nonet:lease:{key}"


def sent_name(key: str) -> str:
    """Redis key that bridges the moment between enqueuing an artifact key and the lease of the worker that took it."""
    return f"nonet:sent:{key}"
