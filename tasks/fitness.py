"""Whether this worker can work on a run: it reaches the storage, its code is of the run's version, and it has
the stack, the GPU and the very base for it.

A worker that cannot says why in its log, gives the work back at once and rests, so that the others get it: one sick
worker must not eat the queue.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import redis

from config.queues import sent_name
from config.settings import NoStackError
from nonet.bases.base import base_architecture
from nonet.bases.fingerprint import NoBaseError, base_digest
from nonet.limits.fit import need_of, obstacle
from nonet.runs.plan import OtherSchemaError, Plan, PlannedBase
from tasks.context import TaskContext
from tasks.refusal import tell_refusal
from tasks.wake import wake

log = logging.getLogger("nonet.worker")
REST_SECONDS = 15.0
"""How long a worker takes no work after it could not do any; half a second at a time, so that it can be stopped."""


def plan_or_rest(context: TaskContext, run: str, keys: Iterable[str]) -> Plan | None:
    """The plan of `run`; None, after a rest, where this worker cannot work on it.

    Raises FileNotFoundError for a run that is none, ValueError for a plan that cannot be read.
    """
    try:
        return context.plan(run)
    except OtherSchemaError as error:
        reason = str(error)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and context.home.store.holds(context.home.runs):
            raise
        reason = f"this worker does not reach the storage ({error}); mount it or end this worker"
    _give_back(context, run, keys, reason)
    return None


def able_or_rest(
    context: TaskContext, plan: Plan, keys: Iterable[str], base: PlannedBase, role: str, stack: str
) -> bool:
    """Whether `stack` is installed here, `base` is the one that the run was planned with, and the GPU one on which it
    computes; False, after a rest, otherwise.

    `role` is that of nonet.limits.fit. Memory is not looked at: its estimate may be wrong, and a try does no harm.
    """
    reason = _obstacle(context, plan, base, role, stack)
    if reason is not None:
        _give_back(context, plan.run, keys, reason)
    return reason is None


def _obstacle(context: TaskContext, plan: Plan, base: PlannedBase, role: str, stack: str) -> str | None:
    try:
        context.settings.stack_python(stack)
    except NoStackError as error:
        return f"{error}, or name another stack in the batch"
    with suppress(OSError, NoBaseError):  # of a base that is missing or damaged the compute process says more
        here = base_digest(Path(base.model.path))
        if here != base.model.digest:
            return (
                f"{base.model.path} holds another base here (digest {here[:12]}) than run {plan.run} was planned with "
                f"({base.model.digest[:12]}): have the same files there on every host"
            )
    if context.capacity is None or context.capacity.capability is None:
        return None
    try:
        found = base_architecture(base.model.path)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the compute process says better what is wrong with the base
    return obstacle(need_of(plan, base, role, found), context.capacity)


def _give_back(context: TaskContext, run: str, keys: Iterable[str], reason: str) -> None:
    """Say why, in the log and to `nonet status`; let the scheduler enqueue `keys` again, and leave them to other
    workers for a while.
    """
    log.error("refused work of run %s: %s; resting for %.0f s", run, reason, REST_SECONDS)
    with suppress(redis.RedisError):
        tell_refusal(context.client, run, context.worker, reason)
        context.client.delete(*(sent_name(key) for key in keys))
    wake(context.client)
    end = time.monotonic() + REST_SECONDS
    while time.monotonic() < end and not context.compute.draining():
        time.sleep(0.5)
