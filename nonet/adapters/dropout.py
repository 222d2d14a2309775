"""Dropout streams: the masks of one adapter, whatever others draw. Knows torch's generators, no adapters."""

from __future__ import annotations

from typing import Any


class Dropout:
    """The masks of one adapter in one step, drawn as torch's own dropout draws them from a generator of its own."""

    def __init__(self, part: float, seed: int, device: Any) -> None:
        import torch

        cuda = device.type == "cuda"
        self._shared = torch.cuda.default_generators[device.index or 0] if cuda else torch.default_generator
        self._part = part
        self._states: dict[str, Any] = {}
        self._next = torch.Generator(device).manual_seed(seed).get_state()

    def mask(self, module: str, rows: Any, cells: int | None, places: Any) -> Any:
        """What `rows` [tokens, inputs] are multiplied by in `module`: of a mask of so many `cells` (None: as many as
        there are rows) those at `places` (None: the first).
        """
        import torch
        from torch.nn.functional import dropout

        cells = rows.shape[0] if cells is None else cells
        first = module not in self._states
        state = self._states.setdefault(module, self._next)
        before = self._shared.get_state()
        self._shared.set_state(state)
        try:
            ones = torch.ones((cells, rows.shape[1]), device=rows.device, dtype=rows.dtype)
            mask = dropout(ones, self._part)
            if first:
                self._next = self._shared.get_state()
        finally:
            self._shared.set_state(before)
        return mask[: rows.shape[0]] if places is None else mask[places]
