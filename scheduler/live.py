"""Metrics of what goes on at this moment: the pace and loss of running work, the processes that live, their memory.

Knows progress files and vital signs, both of which may be lost at any time: a gauge that is not there is not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from config.queues import INFER_TASK, TRAIN_TASK, Queue
from scheduler.state import RunState, UnitState, UnitStatus

ROLES = ("scheduler", "worker")


def live_metrics(states: Iterable[RunState]) -> Iterator[Metric]:
    """Pace by worker, loss and progress by adapter, of units that are in work.

    Cells that one message brought share a worker and a progress, so a pace is told once a worker.
    """
    questions = GaugeMetricFamily(
        "nonet_questions_per_second", "Answers a second, over the last half minute", labels=["run", "worker"]
    )
    tokens = GaugeMetricFamily(
        "nonet_tokens_per_second", "Tokens a second, over the last half minute", labels=["run", "worker", "task"]
    )
    loss = GaugeMetricFamily(
        "nonet_training_loss", "Mean loss of the last steps of a training", labels=["run", "adapter", "worker"]
    )
    done = GaugeMetricFamily(
        "nonet_training_progress_ratio", "Steps done of a training, from 0 to 1", labels=["run", "adapter", "worker"]
    )
    for state in states:
        paces: dict[tuple[str, str], Mapping[str, Any]] = {}
        for task, worker, unit, progress in _in_work(state):
            paces[task, worker] = progress
            if task == TRAIN_TASK:
                labels = [state.plan.run, unit.name, worker]
                _add(loss, labels, progress.get("loss"))
                _add(done, labels, _ratio(progress.get("step"), progress.get("steps")))
        for (task, worker), progress in paces.items():
            _add(tokens, [state.plan.run, worker, task], progress.get("tokens_per_second"))
            if task == INFER_TASK:
                _add(questions, [state.plan.run, worker], progress.get("questions_per_second"))
    yield from (questions, tokens, loss, done)


def _in_work(state: RunState) -> Iterator[tuple[str, str, UnitStatus, Mapping[str, Any]]]:
    for task, units in ((TRAIN_TASK, state.adapters), (INFER_TASK, state.cells)):
        for unit in units:
            if unit.state is UnitState.RUNNING and unit.last is not None and unit.lost is None and unit.progress:
                yield task, unit.last.worker, unit, unit.progress


def process_metrics(vitals: Iterable[Mapping[str, Any]], known: bool) -> Iterator[Metric]:
    """Living processes by role, workers by queue, and memory by worker; without samples where nothing is `known`."""
    vitals = tuple(vitals)
    processes = GaugeMetricFamily("nonet_processes", "Living processes by role", labels=["role"])
    workers = GaugeMetricFamily("nonet_queue_workers", "Living workers that take from a queue", labels=["queue"])
    memory = GaugeMetricFamily(
        "nonet_compute_memory_bytes", "Memory that a worker's compute process holds", labels=["worker"]
    )
    used = GaugeMetricFamily(
        "nonet_gpu_memory_used_bytes", "GPU memory in use, by whomever", labels=["worker", "gpu", "model"]
    )
    size = GaugeMetricFamily("nonet_gpu_memory_bytes", "GPU memory there is", labels=["worker", "gpu", "model"])
    if known:
        roles = Counter(sign["role"] for sign in vitals)
        taken = Counter(queue for sign in vitals for queue in _list(sign.get("queues")) if isinstance(queue, str))
        for role in ROLES:
            processes.add_metric([role], roles[role])
        for queue in Queue:
            workers.add_metric([queue.value], taken[queue.value])
    for sign in vitals:
        if sign["role"] == "worker":
            _add(memory, [sign["name"]], sign.get("compute_bytes"))
            for gpu in (gpu for gpu in _list(sign.get("gpus")) if isinstance(gpu, dict)):
                labels = [sign["name"], str(gpu.get("gpu")), str(gpu.get("model"))]
                _add(used, labels, gpu.get("used_bytes"))
                _add(size, labels, gpu.get("total_bytes"))
    yield from (processes, workers, memory, used, size)


def _add(family: GaugeMetricFamily, labels: list[str], value: object) -> None:
    if isinstance(value, int | float):
        family.add_metric(labels, float(value))


def _ratio(done: object, total: object) -> float | None:
    return done / total if isinstance(done, int) and isinstance(total, int) and total else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
