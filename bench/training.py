"""What training costs: twelve adapters over one base by what users do, and by Nonet, side by side in one run.

    python -m bench.training --device cuda --shape 32b --points 8 20 --seconds 150    # a GPU of 80 GB, the stack gpu
    python -m bench.training --device cpu --shape 40m                                 # the stack cpu
    python -m bench.training --device cpu --shape 40m --grid-adapters 1 2 4 8 12      # and how it grows

Run with the Python of a stack, from the root of the checkout. The base has random weights and is made in memory: time
and memory do not depend on values. Arms, in order of importance, each told as soon as it is measured, and none
ended by another's failure:

- N: PEFT over GPTQModel's layers by transformers' Trainer, one question a step, activations recomputed, padded to 512,
  all logits. U: the same at its best batch size without padding beyond the longest.
- O: Nonet with one thing after another: answer positions only; packed linears; the stem once for its questions; all
  adapters jointly (`grouped`: a stem's questions in one optimizer step; `exact`: one question a step, the very steps
  of separate training), with activations recomputed and without.

Seconds on a CPU are those that the process computed, one thread unless `--threads` says otherwise: others may use the
machine, too. A step is measured with few layers and with more (`--points`), and told for all of them (`--fit`): time is
linear in layers. Of the matrix peak, measured in the same run, only the base's own products count, forward and gradient
of the input, of real tokens: not what is computed again, not attention, not LoRA.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.matrix_peak import matrix_peak
from bench.random_model import Layers, first_layers, random_model, shape_of
from bench.training_arms import Case, Ground, Timed, joint, one_by_one, scoring, stock
from bench.training_gradients import apart
from models.make.random_base import SHAPES, base_config
from nonet.adapters.recipe import TARGETS
from nonet.limits.joint_memory import JointSizes, joint_memory
from nonet.limits.memory import GIB, Work, architecture

PADDED = 512
RESIDENT = "U, plain linears"
"""What users do over a base that is unpacked once: on a CPU the stricter thing to be compared with."""


@dataclass(slots=True)
class Table:
    """What was measured: prints a line each; `seconds` are left for everything."""

    ground: Ground
    peak: float
    weights: int
    fit: int
    end: float
    found: dict[str, list[float]] = field(default_factory=dict)
    wanted: Sequence[str] = ()

    def arm(
        self,
        name: str,
        measure: Callable[[], Timed],
        points: Sequence[int],
        *,
        passes: int = 2,
        need: float = 3,
        predict: Callable[[int], float] | None = None,
    ) -> None:
        """Measure with each number of layers in `points`, rising; tell it for `fit` layers. `passes` over the weights
        count for the share of the matrix peak: forward and gradient, or forward alone. `predict` says what memory the
        model of memory expects with so many layers.
        """
        if not self._asked(name):
            return
        if time.monotonic() + need > self.end:
            print(f"{name:58} skipped: no time left", flush=True)
            return
        try:
            timed = []
            for layers in points:
                with first_layers(self.ground.model, layers):
                    timed.append(measure())
        except Exception as error:
            print(f"{name:58} failed: {type(error).__name__}: {str(error)[:300]}", flush=True)
            _forget()
            return
        self._tell(name, timed, points, passes)
        if timed[-1].inside is not None:
            print(f"{'':58} {timed[-1].inside / timed[-1].step:.1%} of it in forward and backward", flush=True)
        peak = timed[-1].peak
        if predict is not None and peak is not None:
            expected = predict(points[-1])
            print(f"{'':58} predicted {expected / GIB:.1f} GiB at {points[-1]}: {expected / peak - 1:+.1%}", flush=True)

    def _tell(self, name: str, timed: Sequence[Timed], points: Sequence[int], passes: int) -> None:
        one, last = timed[0], timed[-1]
        step, grew = last.step, 0.0
        if len(timed) > 1:
            grew = (last.step - one.step) / (points[-1] - points[0])
            step = last.step + grew * (self.fit - points[-1])
        seconds = step / last.questions
        self.found.setdefault(name, []).append(seconds)
        per_layer = grew or last.step / points[-1]
        share = 2 * passes * last.tokens * self.weights / per_layer / self.peak
        memory = "" if last.peak is None else f"{last.peak / GIB:6.1f} GiB at {points[-1]}"
        if last.peak is not None and one.peak is not None and len(timed) > 1 and points[-1] != self.fit:
            more = (last.peak - one.peak) / (points[-1] - points[0])
            memory += f", {(last.peak + more * (self.fit - points[-1])) / GIB:6.1f} at {self.fit}"
        ratio = f"{self.found['N'][-1] / seconds:6.2f} x N" if "N" in self.found else " " * 10
        print(f"{name:58} {seconds:9.5f} s {ratio} {share:6.1%} of peak  {memory}", flush=True)

    def _asked(self, name: str) -> bool:
        return not self.wanted or any(name.startswith(wanted) for wanted in self.wanted)

    def check(self, name: str, measure: Callable[[], tuple[float, float]], layers: int) -> None:
        """Tell how far gradients are apart, over so many layers."""
        if not self._asked(name) or time.monotonic() + 3 > self.end:
            return
        try:
            with first_layers(self.ground.model, layers):
                loss, gradient = measure()
            print(f"{name:58} loss {loss:.1e}, gradient {gradient:.1e} apart (relative, {layers} layers)", flush=True)
        except Exception as error:
            print(f"{name:58} failed: {type(error).__name__}: {str(error)[:300]}", flush=True)
            _forget()


def main() -> None:
    arguments = _arguments()
    begun = time.monotonic()
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    import torch

    if arguments.device == "cpu":
        torch.set_num_threads(arguments.threads)
    dtype = getattr(torch, arguments.dtype or ("float32" if arguments.device == "cpu" else "float16"))
    shape = shape_of(arguments.shape, arguments.layers)
    cuda = arguments.device != "cpu"
    name = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(
        f"{name}; torch {torch.__version__}; {arguments.shape}, {shape.num_hidden_layers} layers, {dtype}", flush=True
    )
    peak = matrix_peak(arguments.device, dtype)
    print(f"matrix peak {peak / 1e12:.3f} TFLOP/s", flush=True)
    if cuda:
        _kernels(arguments.device, dtype, shape)
    model = random_model(shape, arguments.device, dtype)
    print(f"base made after {time.monotonic() - begun:.0f} s", flush=True)
    found = architecture(model.config.to_dict())
    ground = Ground(model, arguments.device, dtype, shape)
    fit = arguments.fit or shape.num_hidden_layers
    end = begun + arguments.seconds
    table = Table(ground, peak, found.layer_weights, fit, end, wanted=arguments.only)
    for _ in range(arguments.rounds):
        _arms(table, Case(arguments.adapters, arguments.questions), arguments, shape.num_hidden_layers, cuda)
    _ratios(table.found)
    print(f"all after {time.monotonic() - begun:.0f} s", flush=True)


CHECKED = 3
"""Adapters in the joint step whose gradients are checked."""


def _arms(table: Table, case: Case, arguments: Any, layers: int, cuda: bool) -> None:
    ground, steps, batch = table.ground, arguments.steps, arguments.batch
    whole, few, own = [layers], arguments.points or [layers], ground.own

    def users(kind: Layers, batch: int, length: int | None, recompute: bool) -> Callable[[], Timed]:
        return lambda: stock(ground, case, kind, batch=batch, length=length, recompute=recompute, steps=steps)

    def jointly(case: Case, grouped: bool, recompute: bool, kind: Layers = own) -> Callable[[], Timed]:
        return lambda: joint(ground, case, kind, grouped=grouped, recompute=recompute, steps=steps)

    def single(kind: Layers, recompute: bool) -> Callable[[], Timed]:
        return lambda: one_by_one(ground, case, kind, batch=batch, recompute=recompute, steps=steps)

    def memory(case: Case, grouped: bool, recompute: bool) -> Callable[[int], float]:
        return lambda layers: _predicted(ground, case, grouped, recompute, layers)

    def gradients(grouped: bool, kind: Layers) -> Callable[[], tuple[float, float]]:
        return lambda: apart(ground, replace(case, adapters=min(case.adapters, CHECKED)), kind, grouped=grouped)

    table.arm("N", users(Layers.STOCK, 1, PADDED, True), whole)
    table.arm("O joint, grouped", jointly(case, True, False), few, predict=memory(case, True, False))
    table.arm("O joint, exact", jointly(case, False, False), few, predict=memory(case, False, False))
    table.check("equal: O joint, exact", gradients(False, own), 2)
    table.check("equal: O joint, grouped", gradients(True, own), 2)
    table.check("over GPTQModel's layers: O joint, exact", gradients(False, Layers.STOCK), 2)
    table.arm("tree scoring", lambda: scoring(ground, case, own, steps=steps + 1), whole, passes=1)
    if cuda:
        table.arm("O joint, grouped, recomputed", jointly(case, True, True), few, predict=memory(case, True, True))
        table.arm("O joint, exact, recomputed", jointly(case, False, True), few)
        table.arm("O joint, grouped, cuDNN's attention", lambda: _by_cudnn(jointly(case, True, False)), few)
        table.arm("O joint, grouped, plain linears", jointly(case, True, False, Layers.RESIDENT), few)
    table.arm("U", users(Layers.STOCK, batch, None, cuda), few)
    table.arm("U + answer positions only", single(Layers.STOCK, cuda), few)
    table.arm("U + answer positions, own linears", single(own, cuda), few)
    if cuda:
        table.arm("U + answer positions, own linears, none recomputed", single(own, False), few)
    else:
        table.arm(RESIDENT, users(Layers.RESIDENT, batch, None, False), few)
    table.arm("O, grouped, one adapter", jointly(Case(1, case.questions), True, False), few)
    if cuda:
        table.arm("O joint, grouped, recomputed, all layers", jointly(case, True, True), whole, need=20)
    for adapters in arguments.grid_adapters:
        for questions in arguments.grid_questions:
            cell = Case(adapters, questions)
            name = f"O joint, grouped, {adapters} adapters, {questions} questions"
            table.arm(name, jointly(cell, True, False), few)


def _by_cudnn(measure: Callable[[], Timed]) -> Timed:
    """With cuDNN's attention where torch would take another: tree masks keep it from its flash kernel."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(order, set_priority=True):
        return measure()


def _predicted(ground: Ground, case: Case, grouped: bool, recompute: bool, layers: int) -> float:
    """Bytes that torch should hold at most: the weights of all layers, adapters and activations of the first ones."""
    whole = architecture(base_config(ground.shape))
    few = replace(whole, layers=layers)
    tokens = case.tree if grouped else case.prompt
    work = Work(8, TARGETS, tokens, 1, 0.0, case.adapters, free_text=False)
    found = joint_memory(few, work, JointSizes(case.adapters, ground.tokens, recompute), "cuda")
    return whole.packed_bytes() + found.adapters + found.activations


def _kernels(device: str, dtype: Any, shape: Any) -> None:
    """Check the kernels; where one is wrong, torch takes its place and the arms are told with that."""
    from bench import training_kernels
    from nonet.bases import lean_layers, packed_weight

    try:
        for line in training_kernels.checked(device, dtype):
            print(line, flush=True)
        print(training_kernels.dequantising(device, dtype, shape.hidden_size, shape.intermediate_size), flush=True)
    except Exception as error:
        print(f"kernels failed: {type(error).__name__}: {str(error)[:1000]}; torch in their place", flush=True)
        packed_weight.by_triton = lean_layers.by_triton = lambda _: False  # type: ignore[assignment, attr-defined]


def _ratios(found: dict[str, list[float]]) -> None:
    """The ratios, of medians over the rounds."""
    for over in ("N", "U", RESIDENT):
        for arm in ("O joint, grouped", "O joint, exact"):
            if over in found and arm in found:
                ratio = statistics.median(found[over]) / statistics.median(found[arm])
                print(f"{arm} over {over}: {ratio:.2f}", flush=True)


def _forget() -> None:
    """Give back the memory that a failed arm left."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", choices=SHAPES, default="40m")
    parser.add_argument("--layers", type=int, help="of the shape that are made; default: all")
    parser.add_argument(
        "--points", type=int, nargs="*", help="layers that arms without recomputation are measured with"
    )
    parser.add_argument("--fit", type=int, help="layers that figures are told for; default: those that are made")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"))
    parser.add_argument("--adapters", type=int, default=12)
    parser.add_argument("--questions", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8, help="of U")
    parser.add_argument("--rounds", type=int, default=1, help="of all arms, one after another")
    parser.add_argument("--steps", type=int, default=3, help="of each arm, the first of which is left out")
    parser.add_argument("--seconds", type=float, default=10**6, help="for everything; what does not fit is skipped")
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    parser.add_argument("--only", nargs="*", default=(), help="arms whose names begin so")
    parser.add_argument("--grid-adapters", type=int, nargs="*", default=())
    parser.add_argument("--grid-questions", type=int, nargs="*", default=(1, 2, 4, 6))
    return parser.parse_args()


if __name__ == "__main__":
    main()
