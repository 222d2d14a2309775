"""Slots: the adapters that a vLLM engine holds, kept from shard to shard. Knows vLLM's LoRA requests, asks no question.

An adapter is known by its path and by what the disk says of its files: files that change under one path are another
adapter, with another number, name and slot, so that neither weights nor cached blocks can be mistaken for another's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nonet.engines import Adapter
from nonet.engines.adapter_files import CONFIG, WEIGHTS, DamagedAdapterError, Shapes, read_adapter

Identity = tuple[str, tuple[int, ...], tuple[int, ...]]
"""Path of an adapter, and when and where its two files were written."""


class Slots:
    """LoRA requests by adapter, at most `room` at a time, of those not needed the one that waited longest goes."""

    def __init__(self, engine: Any, shapes: Shapes, room: int) -> None:
        self._engine = engine
        self._shapes = shapes
        self._room = room
        self._number = 0
        self._held: dict[Identity, Any] = {}

    def request(self, adapter: Adapter) -> Any:
        """The LoRA request of `adapter`, whose weights are checked and loaded unless they are; raises
        DamagedAdapterError.
        """
        identity = _identity(adapter.path)
        lora = self._held.pop(identity, None) or self._load(adapter.path)
        self._held[identity] = lora
        return lora

    def _load(self, path: str) -> Any:
        from vllm.lora.request import LoRARequest

        read_adapter(path, self._shapes)
        while len(self._held) >= self._room:
            self._engine.remove_lora(self._held.pop(next(iter(self._held))).lora_int_id)
        self._number += 1
        lora = LoRARequest(f"adapter-{self._number}", self._number, os.path.realpath(path))
        try:
            self._engine.add_lora(lora)
        except (ValueError, RuntimeError, KeyError) as error:
            raise DamagedAdapterError(f"{path}: vLLM does not take it: {error}") from None
        return lora


def _identity(path: str) -> Identity:
    folder = Path(os.path.realpath(path))
    return str(folder), _stamp(folder / CONFIG), _stamp(folder / WEIGHTS)


def _stamp(file: Path) -> tuple[int, ...]:
    """Changes when the file is written again or replaced; () where there is none."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
