"""Whether the workers that are known can do what a plan asks: estimates, and refusals with their figures.

Knows where the base's config.json lies and how workers announce themselves; `nonet.limits.fit` knows what fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import redis

from cli.errors import RefusedError
from cli.estimate import AdapterEstimate
from cli.exit_codes import ExitCode
from cli.session import Session
from config.queues import Queue
from config.settings import NoFleetError
from nonet.bases.base import base_architecture
from nonet.limits.capacity import Capacity
from nonet.limits.fit import ANSWER, TRAIN, Misfit, Need, gib, misfit, need_of
from nonet.limits.memory import Architecture
from nonet.runs.plan import Plan, PlannedBase
from tasks.announcement import announced

_VERBS = {TRAIN: "trained", ANSWER: "answered with"}
_QUEUES = {TRAIN: Queue.TRAIN.value, ANSWER: Queue.INFER.value}


@dataclass(frozen=True, slots=True)
class Fit:
    """One need and the workers that take its queue: those that can, and why the others cannot."""

    need: Need
    able: tuple[Capacity, ...]
    misfits: tuple[Misfit, ...]

    @property
    def refusal(self) -> str | None:
        """Why no worker that is known can; None when one can, or none takes the queue."""
        if self.able or not self.misfits:
            return None
        base = self.need.base
        what = f"{base_key(base)} ({base.model.model}) cannot be {_VERBS[self.need.role]}"
        figures = [(m.needed, m.had) for m in self.misfits if m.needed is not None and m.had is not None]
        if len(figures) == len(self.misfits):
            needed, had = min(figures)[0], max(had for _, had in figures)
            return f"{what}: it needs about {gib(needed)}, the largest worker has {gib(had)}"
        return f"{what}: " + "; ".join(f"{m.worker} {m.reason}" for m in self.misfits)


def base_key(base: PlannedBase) -> str:
    """The key of the batch file that names a base."""
    return f"bases.{base.name}" if base.name else "base"


def known_workers(session: Session) -> tuple[Capacity, ...]:
    """Workers that have announced themselves; none where no Redis is known or it is away."""
    try:
        return announced(session.client)
    except (NoFleetError, redis.RedisError):
        return ()


def fits(plan: Plan, workers: Sequence[Capacity]) -> tuple[Fit, ...]:
    """What each base of `plan` needs, to train and to answer, and who of `workers` can."""
    return tuple(_fit(need, workers) for base in plan.bases for need in _needs(plan, base))


def _needs(plan: Plan, base: PlannedBase) -> Iterator[Need]:
    found: Architecture | None = None
    unknown = ""
    try:
        found = base_architecture(base.model.path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        unknown = str(error)
    for role in (TRAIN, ANSWER):
        yield need_of(plan, base, role, found, unknown)


def _fit(need: Need, workers: Sequence[Capacity]) -> Fit:
    asked = [worker for worker in workers if _QUEUES[need.role] in worker.queues]
    found = {worker.worker: misfit(need, worker) for worker in asked}
    able = tuple(worker for worker in asked if found[worker.worker] is None)
    return Fit(need, able, tuple(why for why in found.values() if why is not None))


def refuse_unfit(found: Sequence[Fit], adapters: Sequence[AdapterEstimate]) -> None:
    """Raise RefusedError where no known worker can do what `adapters` still lack."""
    lacking = {
        TRAIN: {estimate.adapter.base for estimate in adapters if not estimate.trained},
        ANSWER: {estimate.adapter.base for estimate in adapters if estimate.answered < estimate.shards},
    }
    refusals = [fit.refusal for fit in found if fit.refusal and fit.need.base.name in lacking[fit.need.role]]
    if refusals:
        raise RefusedError("\n".join(refusals), ExitCode.BAD_INPUT)


def _joint_lines(train: Fit) -> Iterator[str]:
    """What trainer joint does at once on each of the workers that can; alike ones share a line."""
    told: dict[str, list[str]] = {}
    for worker in train.able:
        found = train.need.at_once(worker.device, worker.memory)
        if found is not None:
            sizes, needed = found
            again = "layers computed twice" if sizes.recompute else "nothing computed twice"
            line = f"{sizes.slots} adapters, {sizes.tokens} tokens at once, {again}: about {gib(needed)}"
            told.setdefault(line, []).append(worker.worker)
    yield from (f"{line} ({', '.join(workers)})" for line, workers in told.items())


def fit_lines(found: Sequence[Fit], workers: Sequence[Capacity], device: str) -> Iterator[str]:
    """The estimates for people, a line a base, and the workers that cannot."""
    devices = sorted({worker.device for worker in workers if worker.queues != (Queue.CPU.value,)}) or [device]
    width = max(len(fit.need.base.name) for fit in found)
    for train, answer in zip(found[::2], found[1::2], strict=True):
        name = f"{train.need.base.name:{width}}  " if width else ""
        if train.need.architecture is None:
            yield f"memory   {name}not known: {train.need.unknown}"
            continue
        told = [
            f"about {gib(train.need.memory(kind) or 0)} to train, {gib(answer.need.memory(kind) or 0)} to answer "
            f"({'on a GPU' if kind == 'cuda' else 'on a CPU'})"
            for kind in devices
        ]
        yield f"memory   {name}{'; '.join(told)}"
        yield from (f"jointly  {name}{line}" for line in _joint_lines(train))
    if not workers:
        yield "workers  none is known here, so nothing is said of what fits"
    for fit in found:
        for why in fit.misfits:
            over = f" over {fit.need.base.name}" if fit.need.base.name else ""
            yield f"workers  {why.worker} cannot {fit.need.role}{over}: {why.reason}"
