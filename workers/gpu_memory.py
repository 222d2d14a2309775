"""Memory of what a worker computes with: its compute process, and the GPUs that it sees. Knows NVML, not torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """One GPU: memory in bytes, of all processes that use it, as NVML tells it."""

    gpu: str
    model: str
    used_bytes: int
    total_bytes: int


def gpu_memory(visible: str | None) -> tuple[GpuMemory, ...]:
    """The GPUs that `visible` (CUDA_VISIBLE_DEVICES, None: every one) names; none without NVIDIA's driver.

    Whole GPUs only: a MIG slice is left out.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_told(pynvml, device) for device in _devices(pynvml, visible))
    except pynvml.NVMLError:
        return ()
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _devices(nvml: Any, visible: str | None) -> Iterator[Any]:
    if visible is None:
        yield from (nvml.nvmlDeviceGetHandleByIndex(at) for at in range(nvml.nvmlDeviceGetCount()))
        return
    for name in (part.strip() for part in visible.split(",")):
        if name.isdigit():
            yield nvml.nvmlDeviceGetHandleByIndex(int(name))
        elif name.startswith("GPU-"):
            yield nvml.nvmlDeviceGetHandleByUUID(name)


def _told(nvml: Any, device: Any) -> GpuMemory:
    memory = nvml.nvmlDeviceGetMemoryInfo(device)
    model = nvml.nvmlDeviceGetName(device)
    return GpuMemory(str(nvml.nvmlDeviceGetIndex(device)), str(model), int(memory.used), int(memory.total))


def memory_signs(device: str, pid: int | None) -> dict[str, Any]:
    """What of memory is a worker's vital sign; `pid` is that of its compute process, None where there is none."""
    gpus = gpu_memory(os.environ.get("CUDA_VISIBLE_DEVICES")) if device == "cuda" else ()
    return {"compute_bytes": _resident(pid), "gpus": [asdict(gpu) for gpu in gpus]}


def _resident(pid: int | None) -> int:
    """Bytes that the process `pid` and all below it hold in memory, 0 when it is gone."""
    if pid is None:
        return 0
    total = 0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_info().rss
    return total
