"""Joint training whose memory runs out on the way. Run by the Python of the stack `cpu`.

joint_memory_runs_out.py ORDER  → the events of the order, carried out where no step of more than one adapter finds the
                                  memory that it needs, from the third step on
Prints one line of JSON last. The error is torch's own; what is put in its place is only when it comes.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from unittest import mock

from nonet.adapters import joint
from nonet.adapters.joint_step import backward
from nonet.compute import train_jointly
from nonet.compute.orders import JointOrder, read_order
from nonet.compute.warm import Warm

STEPS = 2
"""Steps that find enough."""


class Heard:
    """The telling of an order, kept."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def event(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    def progress(self, phase: str, *, last: bool = False, **fields: Any) -> None: ...

    def stop(self) -> bool:
        return False


def main(order: str) -> list[dict[str, Any]]:
    import torch

    record = read_order(order)
    assert isinstance(record, JointOrder)
    torch.set_num_threads(1)
    taken = 0

    def short(model: Any, bank: Any, turns: Any, *others: Any) -> list[float]:
        nonlocal taken
        taken += 1
        if taken > STEPS and len(turns) > 1:
            torch.empty(2**60)  # raises
        return backward(model, bank, turns, *others)

    heard = Heard()
    with mock.patch.object(joint, "backward", short):
        result = train_jointly.carry_out(record, Warm(), heard)  # type: ignore[arg-type]
    return [*heard.events, {"event": "done", "result": result}]


if __name__ == "__main__":
    print("\n" + json.dumps(main(sys.argv[1])))
