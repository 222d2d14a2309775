"""The compute process's life: take the pipes, then carry out one order after another until stdin ends."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import Any

from nonet.compute import infer, train, train_jointly
from nonet.compute.allocator import keep_freed_memory
from nonet.compute.channel import Channel, take_pipes
from nonet.compute.failure import error_class, message
from nonet.compute.orders import InferOrder, JointOrder, Order, OrderError, TrainOrder, read_order
from nonet.compute.peak import reset_peak
from nonet.compute.telling import DrainedError, Telling
from nonet.compute.warm import Warm
from nonet.parent import die_with_parent
from nonet.runs.attempt import ErrorClass

ENVIRONMENT = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic cuBLAS
    "HF_HUB_OFFLINE": "1",  # a base is a folder; nothing is fetched behind the worker's back
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Set where the worker has not set it."""


def main() -> None:
    """Serve orders; never returns: the end of stdin ends the process."""
    die_with_parent()
    keep_freed_memory()
    channel = take_pipes()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("torchao").setLevel(logging.ERROR)  # peft imports it; it warns of kernels for another torch
    warm = Warm()
    while True:
        serve(channel.next_order(), warm, channel)


def serve(line: str, warm: Warm, channel: Channel) -> None:
    """Carry out the order in `line` and tell how it ended; an order's failure is told, not raised."""
    order = None
    try:
        record = read_order(line)
        order = record.id
        channel.emit("done", order, result=_carry_out(record, warm, Telling(channel, order)))
    except DrainedError as drained:
        channel.emit("drained", order, step=drained.step)
    except OrderError as error:
        channel.emit("error", error.order, error_class=ErrorClass.BAD_INPUT, error=str(error), traceback="")
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        kind = error_class(error)
        if kind is not ErrorClass.BAD_INPUT:
            warm.drop()
        text = "".join(traceback.format_exception(error))
        channel.emit("error", order, error_class=kind, error=message(error), traceback=text)


def _carry_out(order: Order, warm: Warm, telling: Telling) -> dict[str, Any]:
    _use_threads(order)
    reset_peak()
    if isinstance(order, TrainOrder):
        return train.carry_out(order, warm, telling)
    if isinstance(order, JointOrder):
        return train_jointly.carry_out(order, warm, telling)
    return infer.carry_out(order, warm, telling)


def _use_threads(order: Order) -> None:
    """Let torch use the order's number of threads; None leaves it its own choice."""
    if order.threads is None or (isinstance(order, InferOrder) and order.engine == "vllm"):
        return
    os.environ.setdefault("OMP_NUM_THREADS", str(order.threads))
    import torch

    torch.set_num_threads(order.threads)


if __name__ == "__main__":
    main()
