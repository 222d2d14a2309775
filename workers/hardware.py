"""What this worker has, asked of the machine: NVML for GPUs, the system for memory. Imports no torch."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import psutil

from config.queues import Queue
from config.settings import Settings
from nonet.limits.capacity import Capacity

log = logging.getLogger("nonet.worker")
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def capacity_of(settings: Settings, worker: str, queues: Sequence[Queue]) -> Capacity | None:
    """What a worker of these settings has; None, and a line in the log, where the GPU cannot be asked."""
    if settings.device == "cuda":
        try:
            name, memory, capability = gpu()
        except OSError as error:
            log.warning("nothing is announced of this worker's GPU: %s", error)
            return None
    else:
        name, memory, capability = platform.machine(), cpu_memory(settings.memory_limit), None
    return Capacity(
        worker=worker,
        queues=tuple(queue.value for queue in queues),
        device=settings.device,
        name=name,
        memory=memory,
        capability=capability,
        stacks=settings.installed_stacks(),
        roles={
            "train": settings.train_stack,
            "transformers": settings.transformers_stack,
            "vllm": settings.vllm_stack,
        },
    )


def gpu() -> tuple[str, int, tuple[int, int]]:
    """(name, bytes of memory, compute capability) of the first GPU that CUDA shows this process.

    Raises OSError where NVML, a part of NVIDIA's driver, does not answer.
    """
    import pynvml

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
    try:
        pynvml.nvmlInit()
        try:
            found = (
                pynvml.nvmlDeviceGetHandleByIndex(int(visible))
                if visible.isdecimal()
                else pynvml.nvmlDeviceGetHandleByUUID(visible)
            )
            name = pynvml.nvmlDeviceGetName(found)
            memory = pynvml.nvmlDeviceGetMemoryInfo(found).total
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(found)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise OSError(f"NVML: {error}") from error
    return str(name), int(memory), (int(major), int(minor))


def cpu_memory(limit: int | None) -> int:
    """Bytes that a compute process may have: the machine's, less where a container or NONET_MEMORY_LIMIT says so."""
    known = [int(psutil.virtual_memory().total)]
    try:
        text = _CGROUP.read_text("ascii").strip()
    except OSError:
        text = "max"
    if text.isdecimal():
        known.append(int(text))
    return min([*known, *([limit] if limit is not None else [])])
