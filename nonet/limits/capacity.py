"""What a worker has: device, memory, compute capability, stacks. Knows the record and its JSON; asks no hardware."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Capacity:
    """One worker as it announces itself.

    `memory` in bytes: the GPU's, or on a CPU the machine's or the limit of a compute process. `capability`: NVIDIA's
    compute capability (major, minor), None on a CPU. `stacks` are the installed ones, `roles` those that it uses where
    a batch names none: `train`, `transformers`, `vllm`.
    """

    worker: str
    queues: tuple[str, ...]
    device: str
    name: str
    memory: int
    capability: tuple[int, int] | None
    stacks: tuple[str, ...]
    roles: Mapping[str, str]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def capacity_from_json(data: bytes | str) -> Capacity:
    """The inverse of `Capacity.to_json`; raises ValueError, KeyError, TypeError."""
    raw: dict[str, Any] = json.loads(data)
    capability = raw["capability"]
    return Capacity(
        worker=str(raw["worker"]),
        queues=tuple(map(str, raw["queues"])),
        device=str(raw["device"]),
        name=str(raw["name"]),
        memory=int(raw["memory"]),
        capability=None if capability is None else (int(capability[0]), int(capability[1])),
        stacks=tuple(map(str, raw["stacks"])),
        roles={str(role): str(stack) for role, stack in raw["roles"].items()},
    )
