"""The page's two small figures, as numbers for its template: what each worker did when, and how losses fell. Pure.

Numbers without a style, since the page's policy forbids styles in markup: bars and points lie in a box of WIDTH x
HEIGHT units, which the page stretches to its width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nonet.duration import duration
from nonet.report.figures import averaged, span_text
from nonet.report.timeline import Span

WIDTH, HEIGHT = 1000.0, 100.0
NARROWEST = 2.0
"""Units that a bar has at least, so that what took an instant is seen."""
CURVES = 60
"""Most loss curves that are drawn."""


@dataclass(frozen=True, slots=True)
class Bar:
    """An attempt, or several of one kind that follow one another closely: `kind` names its colour."""

    x: float
    width: float
    kind: str
    text: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Lane:
    """What one worker did, and the time that it worked, in words."""

    worker: str
    bars: tuple[Bar, ...]
    busy: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """A lane a worker; `length` is what the width stands for, in words."""

    lanes: tuple[Lane, ...]
    length: str


@dataclass(frozen=True, slots=True)
class Curve:
    """The losses of one adapter: points of a polyline, `x,y x,y …`, and the last mean in words."""

    name: str
    points: str
    text: str


def timeline_of(spans: Sequence[Span], now: float) -> Timeline | None:
    """The figure of `spans`, those that are open until `now` (seconds since 1970); None where there are none."""
    if not spans:
        return None
    first = min(span.start for span in spans)
    ends = [span.stop if span.stop is not None else now for span in spans]
    length = max(1.0, max(ends) - first)
    lanes: dict[str, list[Bar]] = defaultdict(list)
    busy: dict[str, float] = defaultdict(float)
    for span, stop in zip(spans, ends, strict=True):
        took = max(0.0, stop - span.start)
        busy[span.attempt.worker] += took
        width = max(NARROWEST, took / length * WIDTH)
        bar = Bar(min((span.start - first) / length * WIDTH, WIDTH - width), width, _kind(span), span_text(span))
        lanes[span.attempt.worker].append(bar)
    return Timeline(
        tuple(Lane(worker, _merged(lanes[worker]), duration(busy[worker])) for worker in sorted(lanes)),
        duration(length),
    )


def _kind(span: Span) -> str:
    if span.bad:
        return "bad"
    return str(span.unit.work) if span.committed else f"{span.unit.work} open"


def _merged(bars: Iterable[Bar]) -> tuple[Bar, ...]:
    """Bars in their order, those of one kind that touch and are narrow as one."""
    found: list[Bar] = []
    for bar in sorted(bars, key=lambda bar: bar.x):
        last = found[-1] if found else None
        near = last is not None and bar.kind == last.kind and bar.x - (last.x + last.width) < NARROWEST
        if last is not None and near and max(last.width / last.count, bar.width) <= 2 * NARROWEST:
            stop = max(last.x + last.width, bar.x + bar.width)
            count = last.count + 1
            found[-1] = replace(last, width=stop - last.x, count=count, text=f"{count} attempts: {bar.kind}")
        else:
            found.append(bar)
    return tuple(found)


def curves_of(losses: Mapping[str, Sequence[tuple[int, float]]]) -> tuple[Curve, ...]:
    """A curve an adapter, all on one scale from 0 to the highest mean; the first CURVES of them."""
    smooth = {name: averaged(found) for name, found in list(losses.items())[:CURVES]}
    top = max((loss for found in smooth.values() for _, loss in found), default=0.0) or 1.0
    return tuple(_curve(name, found, top) for name, found in smooth.items())


def _curve(name: str, found: Sequence[tuple[int, float]], top: float) -> Curve:
    steps = max(1, found[-1][0])
    points = (f"{step / steps * WIDTH:.0f},{HEIGHT - loss / top * HEIGHT:.1f}" for step, loss in found)
    return Curve(name, " ".join(points), f"{found[-1][1]:.3f} after {found[-1][0]:,} steps")
