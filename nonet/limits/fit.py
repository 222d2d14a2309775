"""Whether a worker can train or answer over a base, and why not. Pure: knows what hardware and kernels need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nonet.limits.capacity import Capacity
from nonet.limits.joint_memory import JointSizes, joint_memory, joint_sizes
from nonet.limits.memory import BYTES, GIB, Architecture, Work, answering_memory, training_memory
from nonet.runs.plan import JOINT, Plan, PlannedBase

AWQ_NEEDS = (7, 5)
"""Least compute capability of AWQ's kernels: vLLM's AWQConfig.get_min_capability, and AutoAWQ's documentation."""
BFLOAT16_NEEDS = (8, 0)
"""Least compute capability with bfloat16 in hardware; vLLM refuses below (vllm/platforms/cuda.py)."""
TRAIN, ANSWER = "train", "answer"


@dataclass(frozen=True, slots=True)
class Need:
    """What is asked of a worker: to `train` or to `answer`, over a base of `architecture` (None, and `unknown` why,
    where it cannot be read)."""

    role: str
    base: PlannedBase
    work: Work
    architecture: Architecture | None
    unknown: str = ""

    def memory(self, device: str) -> float | None:
        """Bytes needed on `device`, as estimated; None where that is not known."""
        if self.architecture is None:
            return None
        if self.role == TRAIN and self.base.trainer == JOINT:
            return joint_memory(self.architecture, self.work, self._least(device), device, self.base.dtype).total
        if self.role == TRAIN:
            return training_memory(self.architecture, self.work, device, self.base.dtype).total
        return answering_memory(self.architecture, self.work, self.base.engine, device, self.base.dtype).total

    def at_once(self, device: str, memory: float) -> tuple[JointSizes, float] | None:
        """What trainer joint does at once on a `device` with so much memory, and the bytes that it needs; None where
        another trainer trains, nothing fits, or the base cannot be read."""
        if self.role != TRAIN or self.base.trainer != JOINT or self.architecture is None:
            return None
        found = joint_sizes(self.architecture, self.work, device, memory, self.base.dtype)
        if found is None:
            return None
        return found, joint_memory(self.architecture, self.work, found, device, self.base.dtype).total

    def _least(self, device: str) -> JointSizes:
        """The least that trainer joint can do at once: one adapter, one prompt."""
        return JointSizes(1, self.work.tokens, device != "cpu")

    def least_memory(self, device: str) -> float | None:
        """Bytes that it cannot do with less: a GPTQ base that is not resident answers on a CPU from packed weights."""
        needed, found = self.memory(device), self.architecture
        if needed is None or found is None or device != "cpu" or self.role == TRAIN or found.method != "gptq":
            return needed
        return needed - found.parameters * BYTES[self.base.dtype or "float32"] + found.packed_bytes()


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why `worker` cannot meet a need; `needed` and `had` are bytes where memory is the reason."""

    worker: str
    reason: str
    needed: float | None = None
    had: int | None = None


def need_of(plan: Plan, base: PlannedBase, role: str, found: Architecture | None, unknown: str = "") -> Need:
    """What `role` needs over one base of `plan`, whose architecture is `found`, or `unknown` for that reason."""
    recipe, inference = base.recipe, base.inference
    train = role == TRAIN
    work = Work(
        rank=recipe["rank"] if train else plan.ranks[base.name],
        targets=tuple(recipe["targets"]),
        tokens=recipe["max_length"] + (1 if train else inference["max_tokens"]),
        batch_size=recipe["batch_size"] if train else 1,
        dropout=recipe["dropout"],
        adapters=len(plan.adapters_of(base)),
        free_text=inference["answer"] == "text",
    )
    return Need(role, base, work, found, unknown)


def misfit(need: Need, worker: Capacity) -> Misfit | None:
    """Why `worker` cannot meet `need`, None when nothing is known against it."""
    reason = obstacle(need, worker)
    if reason is not None:
        return Misfit(worker.worker, reason)
    needed = need.least_memory(worker.device)
    if needed is not None and needed > worker.memory:
        reason = f"needs about {gib(needed)} to {need.role}, and {worker.name} has {gib(worker.memory)}"
        return Misfit(worker.worker, reason, needed, worker.memory)
    return None


def obstacle(need: Need, worker: Capacity) -> str | None:
    """What `worker` surely lacks, whatever its memory: a stack, or a GPU that the base's kernels or numbers run on."""
    return next(_reasons(need, worker), None)


def _reasons(need: Need, worker: Capacity) -> Iterator[str]:
    base, found = need.base, need.architecture
    named = base.stacks.train if need.role == TRAIN else base.stacks.infer
    stack = named or worker.roles["train" if need.role == TRAIN else base.engine]
    if stack not in worker.stacks:
        yield f"has no stack {stack}, only {', '.join(worker.stacks) or 'none'}"
    if worker.capability is None:
        return
    has = ".".join(map(str, worker.capability))
    if found is not None and found.method == "awq" and worker.capability < AWQ_NEEDS:
        yield (
            f"{worker.name} has compute capability {has}, AWQ's kernels need {_told(AWQ_NEEDS)}: "
            "take the base's GPTQ quantisation"
        )
    computes = base.dtype
    if computes is None and need.role == ANSWER and base.engine == "vllm" and found is not None:
        computes = found.dtype  # vLLM takes the base's own
    if computes == "bfloat16" and worker.capability < BFLOAT16_NEEDS:
        yield (
            f"{worker.name} has compute capability {has}, bfloat16 needs {_told(BFLOAT16_NEEDS)}: "
            "write dtype: float16 under the base"
        )


def _told(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def gib(size: float) -> str:
    """Bytes for people: 44.6 GiB."""
    return f"{size / GIB:.1f} GiB"
