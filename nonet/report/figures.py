"""The pictures of a report: accuracies, agreement, losses, the fleet's timeline. Knows what to draw, not the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any

from nonet.report.facts import Facts, Outcomes, Training
from nonet.report.svg import FONT_SIZE, colour, drawing, new_figure, series, svg_of
from nonet.report.timeline import Span, Work
from nonet.runs.plan import QuestionSet
from nonet.runs.results import Floor
from nonet.voting.pairs import VOTE
from nonet.voting.score import Score

WIDTH = 9.0
"""Inches; the page scales it."""
ROW = 0.3
"""Inches a row of a figure takes."""
LABELLED = 16
"""Most rows of the heat map whose cells hold their figure."""
AVERAGED = 20
"""Steps over which a loss curve is averaged: at batch 1 single losses jump about."""
POINTS = 300
"""Most points of a curve."""
LEAST = 0.003
"""The narrowest bar of the timeline, as a part of its width: what took an instant is seen, too."""
_UNITS = (("seconds", 1.0, 180.0), ("minutes", 60.0, 3 * 3600.0), ("hours", 3600.0, float("inf")))
"""Units of time, how many seconds they are, and up to how many seconds they are used."""
_WORKS = {Work.TRAIN: 0, Work.INFER: 1, Work.VOTE: 2}


def accuracy_svg(outcomes: Outcomes) -> str:
    """Each member's accuracy with its interval, and the vote's; one panel a question set."""
    found = [(name, panel) for name in QuestionSet if (panel := _panel(outcomes, name))]
    if not found:
        return ""
    with drawing("accuracy"):
        rows = max(len(panel) for _, panel in found)
        figure = new_figure(WIDTH, 1.3 + ROW * rows)
        panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
        tips: dict[str, str] = {}
        for axes, (name, panel) in zip(panels, reversed(found), strict=True):
            _draw_panel(axes, name, panel, outcomes.floors[name], tips)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return svg_of(figure, "accuracy of the members and the vote, with 95 % intervals", tips)


def _panel(outcomes: Outcomes, questions: QuestionSet) -> list[tuple[str, Score, bool]]:
    """(name, score, votes) of each member and the vote, the best member at the top of the figure, the vote below."""
    test, results = questions is QuestionSet.TEST, outcomes.results
    vote = results.vote_test if test else results.estimate.cross_fitted or results.estimate.naive
    scores = [(m.name, m.test if test else m.validated, m.votes) for m in results.members]
    return [row for row in [("vote", vote, True), *reversed(scores)] if row[1] is not None]  # type: ignore[misc]


def _draw_panel(
    axes: Any,
    questions: QuestionSet,
    panel: Sequence[tuple[str, Score, bool]],
    floor: Floor | None,
    tips: dict[str, str],
) -> None:
    for at, (name, score, votes) in enumerate(panel):
        accuracy, interval = score.accuracy or 0.0, score.interval
        assert interval is not None
        hue = colour("accent") if at == 0 else colour("text") if votes else colour("muted")
        gid = f"{questions}-{at}"
        tips[gid] = (
            f"{name}: {accuracy:.4f}, 95 % {interval.low:.3f} to {interval.high:.3f}, {score.correct} of {score.total}"
        )
        axes.plot([interval.low, interval.high], [at, at], color=hue, linewidth=2.4 if at == 0 else 1.4, gid=gid)
        axes.plot(
            [accuracy], [at], "D" if at == 0 else "o", color=hue, markersize=6, gid=gid,
            markerfacecolor=hue if votes else colour("paper"),
        )  # fmt: skip
        axes.annotate(f"{accuracy:.4f}", (accuracy, at), (0, 6), textcoords="offset points", ha="center", fontsize=7)
    if floor is not None:
        axes.axvline(floor.commonest, color=colour("muted"), linestyle="--", label="always the commonest letter")
        axes.axvline(floor.chance, color=colour("muted"), linestyle=":", label="chance (floors that need no model)")
    axes.set_yticks(range(len(panel)), [name for name, _, _ in panel])
    axes.set_ylim(-0.6, len(panel) - 0.2)
    axes.set_title(f"{questions}, {panel[0][1].total:,} questions")
    axes.grid(axis="x", alpha=0.6)
    axes.tick_params(length=0)


def agreement_svg(facts: Facts) -> str:
    """On which part of the test's questions two of members and vote give the same letter."""
    answers = _answers(facts)
    if len(answers) < 2:
        return ""
    names, ids = list(answers), [question.id for question in facts.questions]
    shares = {
        (a, b): sum(answers[a].get(q) == answers[b].get(q) for q in ids) / len(ids)
        for a, b in combinations_with_replacement(names, 2)
    }
    low = min(shares.values())
    side = 0.44 if len(names) <= LABELLED else 0.24
    with drawing("agreement"):
        from matplotlib.patches import Rectangle

        figure = new_figure(min(WIDTH, 1.9 + side * 1.35 * len(names)), 1.0 + side * len(names))
        axes = figure.subplots()
        tips = {}
        for (a, b), share in shares.items():
            for x, y in {(names.index(a), names.index(b)), (names.index(b), names.index(a))}:
                gid = f"pair-{x}-{y}"
                tips[gid] = f"{a} and {b}: the same letter on {share:.1%} of {len(ids):,} questions"
                depth = 0.04 + 0.66 * ((share - low) / (1 - low) if low < 1 else 1)
                cell = Rectangle(
                    (x - 0.5, y - 0.5), 1, 1, facecolor=colour("accent"), alpha=depth, gid=gid, linewidth=0
                )
                axes.add_patch(cell)
                if len(names) <= LABELLED:
                    axes.text(x, y, f"{share:.2f}", ha="center", va="center", fontsize=8)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right", color=colour("text"))
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return svg_of(figure, "agreement of members and vote on the test", tips)


def _answers(facts: Facts) -> dict[str, Mapping[str, str | None]]:
    """Letters by question id of the vote, where there is one, and of every member that has answered the whole test."""
    whole = len(facts.questions)
    ordered = [m.name for m in facts.outcomes.results.members] if facts.outcomes else list(facts.ballots)
    members = {
        name: {q: ballot.letter for q, ballot in facts.ballots[name].items()}
        for name in ordered
        if len(facts.ballots.get(name, {})) == whole
    }
    if facts.outcomes is None:
        return dict(members)
    return {VOTE: {v.question_id: v.letter for v in facts.outcomes.vote.verdicts}, **members}


def losses_svg(trainings: Mapping[str, Training]) -> str:
    """The loss of each adapter by step, averaged over the last steps."""
    curves = {name: training.losses for name, training in trainings.items() if training.losses}
    if not curves:
        return ""
    with drawing("losses"):
        figure = new_figure(WIDTH, 3.4)
        axes = figure.subplots()
        tips = {}
        for at, (name, losses) in enumerate(curves.items()):
            smooth = averaged(losses)
            gid = f"loss-{at}"
            tips[gid] = f"{name}: {smooth[-1][1]:.4f} after {losses[-1][0]:,} steps"
            dashes = ("-", "--", ":", "-.")[at // 10 % 4]
            axes.plot(
                *zip(*smooth, strict=True), color=series(at), linestyle=dashes, linewidth=1.5, label=name, gid=gid
            )
        axes.set_xlabel("step")
        axes.set_ylabel(f"loss, mean of {AVERAGED} steps")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", alpha=0.6)
        axes.tick_params(length=0)
        figure.legend(loc="outside right upper", fontsize=FONT_SIZE - 1)
        return svg_of(figure, "loss by step, adapter by adapter", tips)


def averaged(losses: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Running means over the last AVERAGED steps (fewer at the start), at most POINTS of them; the last is kept."""
    every = max(1, len(losses) // POINTS)
    kept = [at for at in range(len(losses)) if (len(losses) - 1 - at) % every == 0]
    windows = {at: [loss for _, loss in losses[max(0, at + 1 - AVERAGED) : at + 1]] for at in kept}
    return [(losses[at][0], sum(window) / len(window)) for at, window in windows.items()]


def timeline_svg(spans: Sequence[Span]) -> str:
    """What each worker did when: a lane a worker, a bar an attempt, those without a result crossed."""
    if not spans:
        return ""
    first = min(span.start for span in spans)
    last = max([first + 1.0, *(span.stop or span.start for span in spans)])
    unit, scale = next((name, size) for name, size, most in _UNITS if last - first < most)
    least = (last - first) / scale * LEAST
    lanes = sorted({span.attempt.worker for span in spans}, reverse=True)
    with drawing("timeline"):
        figure = new_figure(WIDTH, 1.3 + 0.5 * len(lanes))
        axes = figure.subplots()
        tips: dict[str, str] = {}
        for at, span in enumerate(spans):
            tips[f"span-{at}"] = span_text(span)
            begun, took = (span.start - first) / scale, ((span.stop or last) - span.start) / scale
            _draw_span(axes, lanes.index(span.attempt.worker), begun, max(took, least), span, at, took > 4 * least)
        for work, number in _WORKS.items():
            axes.barh([0], [0], color=series(number), label=work.value)
        axes.plot([], [], "x", color=colour("bad"), label="ended without a result")
        axes.set_yticks(range(len(lanes)), [_plain(lane) for lane in lanes])
        axes.set_ylim(-0.6, len(lanes) - 0.4)
        axes.set_xlim(0, (last - first) / scale * 1.005)
        axes.set_xlabel(f"{unit} since the first attempt")
        axes.grid(axis="x", alpha=0.6)
        axes.tick_params(length=0)
        figure.legend(loc="outside lower center", ncols=4)
        return svg_of(figure, "what each worker did when", tips)


def _draw_span(axes: Any, lane: int, start: float, took: float, span: Span, at: int, wide: bool) -> None:
    hue = series(_WORKS[span.unit.work])
    look: dict[str, Any] = {"facecolor": hue, "edgecolor": colour("paper"), "linewidth": 0.5 if wide else 0.0}
    if span.bad:
        look = {"facecolor": "none", "edgecolor": colour("bad"), "linewidth": 1.2, "hatch": "xxx"}
    elif not span.committed:  # open, drained or cancelled
        look |= {"alpha": 0.45}
    axes.barh([lane], [took], 0.6, left=start, gid=f"span-{at}", **look)
    if span.bad:
        axes.plot([start + took], [lane], "x", color=colour("bad"), gid=f"span-{at}")


def span_text(span: Span) -> str:
    """An attempt in a line."""
    attempt = span.attempt
    outcome = "at work" if attempt.outcome is None else attempt.outcome.value
    why = f" ({attempt.error_class.value})" if attempt.error_class else ""
    took = "" if span.stop is None else f", {span.seconds:,.1f} s"
    return f"{span.unit.work} {span.unit.name}, attempt {attempt.epoch}: {outcome}{why}{took}"


def _plain(text: str) -> str:
    """Text that every font has."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)[:40]
