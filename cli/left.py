"""A forecast in words and as JSON: how long a run still takes, from what that is known, and what would make it sooner.

Pure: knows a forecast, no storage and no terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from config.queues import Queue
from nonet.duration import duration
from nonet.runs.plan import Plan
from scheduler.forecast import Forecast, Rate, WorkerLeft
from scheduler.work_left import FIRST_STEPS

WORTH_SECONDS, WORTH_PART = 60.0, 0.15
"""What one more worker has to save, in seconds and as a part of the time left, to be worth a word."""
OVERHEAD = 0.4
"""The part of the answering that messages may cost before larger shards are worth a word."""
RANGE = 0.1
"""The width of a range, as a part of the time left, from which on it is told."""
_SHOWN = 8
_DOING = {Queue.TRAIN.value: "train", Queue.INFER.value: "answer"}


def left_lines(found: Forecast, plan: Plan) -> Iterator[str]:
    """What to tell of a run that goes on: the time left with its basis, each worker's, and what would be sooner."""
    if not (found.left.in_work or found.left.trainings or found.left.answers):
        return
    yield f"time left  {_whole(found, plan)}"
    if found.busy:
        shown = "; ".join(map(_busy, found.busy[:_SHOWN]))
        more = f"; and {len(found.busy) - _SHOWN} more workers" if len(found.busy) > _SHOWN else ""
        yield f"by worker  {shown}{more}"
    for line in sooner(found):
        yield f"sooner     {line}"


def _whole(found: Forecast, plan: Plan) -> str:
    if found.lacking:
        work = f": about {duration(found.work)} of one worker's work" if found.work is not None else ""
        return f"none while no worker takes {' and '.join(sorted(found.lacking))}{work}"
    basis = "; ".join(basis_of(found))
    if found.unknown:
        until = f"not known until {' and '.join(_until(found, plan))}"
        return f"trainings about {duration(found.training)}; the rest {until} ({basis})" if found.training else until
    assert found.seconds is not None
    return f"about {duration(found.seconds)}{_range(found)}; {basis}"


def _until(found: Forecast, plan: Plan) -> Iterator[str]:
    for queue, base in found.unknown:
        over = f" over {base}" if len(plan.bases) > 1 else ""
        if queue == Queue.TRAIN:
            yield f"the first {FIRST_STEPS} steps of a training{over}"
        else:
            yield f"the first answers{over}"


def _range(found: Forecast) -> str:
    assert found.seconds is not None
    if found.low is None or found.high is None or found.high - found.low < RANGE * found.seconds:
        return ""
    return f" ({duration(found.low)} to {duration(found.high)})"


def basis_of(found: Forecast) -> Iterator[str]:
    """What the time left was reckoned from: measurements of this run, of earlier ones, or the pace of work at hand."""
    trains = bool(found.left.trainings) or any(held.trains for held in found.left.in_work)
    sources = [
        _measured(rates, what)
        for rates, what, needed in (
            (found.rates.train, "training", trains),
            (found.rates.answer, "shard", found.left.cells),
        )
        if needed and rates
    ]
    if sources:
        yield f"from {' and '.join(sources)}"
    if found.rates.elsewhere:
        yield f"measured on {', '.join(found.rates.elsewhere[:3])}, which is not up"
    yield _counted(len(found.workers), "worker")


def _measured(rates: Mapping[str, Rate], what: str) -> str:
    if all(rate.count == 0 for rate in rates.values()):
        return f"the pace of the {what}s in work"
    here = sum(rate.here for rate in rates.values())
    earlier = sum(rate.count for rate in rates.values()) - here
    parts = [f"{_counted(here, what)} of this run"] if here else []
    return " and ".join([*parts, *([f"{_counted(earlier, what)} of earlier runs"] if earlier else [])])


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _busy(worker: WorkerLeft) -> str:
    first, *others = worker.names
    what = f"training {first}" if worker.trains else f"answering {first.rpartition('/')[2]}"
    many = f" with {len(others) + 1} adapters" if others and not worker.trains else ""
    many = f" and {len(others)} more" if others and worker.trains else many
    return f"{worker.worker} {what}{many}, {'not known' if worker.seconds is None else duration(worker.seconds)}"


def sooner(found: Forecast) -> Iterator[str]:
    """What would make it end earlier, where that matters."""
    saved = (found.seconds or 0.0) - (found.one_more or 0.0)
    if found.seconds and found.one_more is not None and saved > max(WORTH_SECONDS, WORTH_PART * found.seconds):
        yield f"one more worker: about {duration(found.one_more)}"
    gpus = sum(worker.gpu and Queue.TRAIN in worker.queues for worker in found.workers)
    waiting = Counter(training.base for training in found.left.trainings if not training.joint)
    for base, count in waiting.items():
        if gpus and count > max(1, gpus):
            over = f" over {base}" if base else ""
            yield f"trainer: joint, for {count} adapters{over} wait for {_counted(gpus, 'GPU')} (docs/training.md)"
    answering = sum(a.units * found.rates.answer[a.base].seconds for a in found.left.answers if not found.unknown)
    if found.overhead is not None and found.overhead > OVERHEAD and answering * found.overhead > WORTH_SECONDS:
        yield f"{found.overhead:.0%} of answering is what a shard costs by itself: a larger inference.shard_size"


def left_json(found: Forecast) -> dict[str, Any]:
    """The forecast as `status --json` and `plan --json` print it; seconds, null where not known."""
    return {
        "seconds": _rounded(found.seconds),
        "low": _rounded(found.low),
        "high": _rounded(found.high),
        "training": _rounded(found.training),
        "work": _rounded(found.work),
        "workers": len(found.workers),
        "no_worker_for": sorted(found.lacking),
        "unknown": [{"to": _DOING[queue], "base": base} for queue, base in found.unknown],
        "by_worker": [{"worker": w.worker, "at": list(w.names), "seconds": _rounded(w.seconds)} for w in found.busy],
        "one_more_worker": _rounded(found.one_more),
        "basis": list(basis_of(found)),
        "sooner": list(sooner(found)),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
