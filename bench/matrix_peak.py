"""The matrix peak: what one machine's dense products reach, measured, which shares of it are told of."""

from __future__ import annotations

import statistics
import time
from typing import Any

SIZES = {"cuda": ((8192, 5120, 27648), (8192, 8192, 8192)), "cpu": ((1024, 512, 1664), (1024, 1024, 1024))}
"""Rows, inputs and outputs of the products that are tried: those of an MLP, and square ones."""
AT_ONCE = 4
"""Products that are asked for before one waits."""


def wait(device: str) -> None:
    """Until everything that was asked of `device` is done."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize()


def matrix_peak(device: str, dtype: Any, seconds: float = 1.0) -> float:
    """Floating point operations a second of the best of the products: the median of its runs in `seconds`."""
    import torch

    clock = time.process_time if device == "cpu" else time.perf_counter  # see bench/training_arms.py
    found = []
    for rows, inputs, outputs in SIZES["cpu" if device == "cpu" else "cuda"]:
        one, other = (torch.randn(size, device=device).to(dtype) for size in ((rows, inputs), (inputs, outputs)))
        out = torch.empty(rows, outputs, device=device, dtype=dtype)
        runs: list[float] = []
        end = time.perf_counter() + seconds / 2
        while len(runs) < 3 or time.perf_counter() < end:
            begun = clock()
            for _ in range(AT_ONCE):
                torch.mm(one, other, out=out)
            wait(device)
            runs.append((clock() - begun) / AT_ONCE)
        found.append(2 * rows * inputs * outputs / statistics.median(runs[1:]))
    return max(found)
