"""The memory that a training may plan with: what is free on the device, and what this process has of it already."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

from nonet.limits.memory import RUNTIME


def free_memory(device: str) -> float:
    """Bytes on `device` ("cpu", "cuda", "cuda:0") that are free or this process's own; infinite where nobody says."""
    if device != "cpu":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return float(free + torch.cuda.memory_reserved(device)) + RUNTIME["cuda"]
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = float("inf") if limit == resource.RLIM_INFINITY else float(limit)
    with suppress(OSError, KeyError, ValueError):
        held = _kilobytes(Path("/proc/self/status"), "VmRSS")
        return min(allowed, 1024.0 * (_kilobytes(Path("/proc/meminfo"), "MemAvailable") + held))
    return allowed


def _kilobytes(file: Path, field: str) -> int:
    lines = (line.partition(":") for line in file.read_text("ascii").splitlines())
    return int({name: value for name, _, value in lines}[field].split()[0])
