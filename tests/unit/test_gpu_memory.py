"""GPU memory through NVML: which devices are asked. The driver is played by a module, as no test machine has one."""

from __future__ import annotations

import os
from types import SimpleNamespace

from workers.gpu_memory import _devices, gpu_memory, memory_signs

NVML = SimpleNamespace(
    nvmlDeviceGetCount=lambda: 3,
    nvmlDeviceGetHandleByIndex=lambda at: f"index {at}",
    nvmlDeviceGetHandleByUUID=lambda uuid: f"uuid {uuid}",
)


def test_visible_devices_are_those_of_cuda() -> None:
    assert list(_devices(NVML, None)) == ["index 0", "index 1", "index 2"]
    assert list(_devices(NVML, "2, 0")) == ["index 2", "index 0"]
    assert list(_devices(NVML, "GPU-5e1,MIG-aaa")) == ["uuid GPU-5e1"]
    assert list(_devices(NVML, "")) == []


def test_without_a_gpu_there_is_no_gpu_memory() -> None:
    signs = memory_signs("cpu", os.getpid())
    assert signs["gpus"] == []
    assert signs["compute_bytes"] > 10 * 2**20
    assert memory_signs("cpu", None)["compute_bytes"] == 0
    assert isinstance(gpu_memory(None), tuple), "no driver is no error"
