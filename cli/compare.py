"""`nonet vote --compare`: all ways of voting side by side. Knows columns; the figures are nonet.voting.comparison's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from cli.scoring import read_gold
from cli.screen import console
from cli.session import Session
from cli.tables import chances, plain_table, share, span
from nonet.plural import counted
from nonet.questions.problem import Problem
from nonet.runs.plan import Plan, QuestionSet
from nonet.voting.aggregation import collect, validated
from nonet.voting.comparison import Comparison, Way, compare
from nonet.voting.crossfit import FOLDS
from nonet.voting.labelled import Labelled, labelled
from nonet.voting.score import Score
from nonet.voting.statistics import PairedTest

_NOTES = (
    "validation: the vote by voters, weights and temperatures fitted on the same questions",
    f"cross-fitted: fitted on four fifths of it and voted on the rest, {FOLDS} times, no stem on both sides",
    "95 %: Wilson's interval of the figure before it; p: McNemar's exact test against the best single member",
)


def show_comparison(session: Session, plan: Plan, seats: int | None, gold: Sequence[Problem], as_json: bool) -> None:
    """Print every way of voting over the ballots of `plan`, on validation and on `gold`; raises RefusedError."""
    found, known, test = _compared(session, plan, seats, gold)
    if as_json:
        whole = {"schema": 1, "run": plan.run, "folds": FOLDS, "questions": len(known.gold)} | _json(found)
        click.echo(json.dumps(whole, ensure_ascii=False, indent=1))
        return
    console().print(_table(found, tested=test is not None))
    click.echo()
    on_test = f", {len(test.gold):,} of the test" if test else ""
    sizes = f"{counted(len(plan.adapters), 'member')}, {counted(len(known.gold), 'question')} of validation"
    click.echo(f"{plan.run}: {sizes}{on_test}")
    for where, asked in (("validation", known), ("test", test)):
        if asked is not None:
            click.echo(f"no model on {where}: {_floor(asked)}")
    for line in _NOTES:
        click.echo(line)


def compared_ways(session: Session, plan: Plan, seats: int | None, gold: Path | None) -> Comparison:
    """Every way of voting over the ballots of `plan`, on validation and on the rows of `gold`; raises RefusedError."""
    return _compared(session, plan, seats, read_gold(gold) if gold else ())[0]


def _compared(
    session: Session, plan: Plan, seats: int | None, gold: Sequence[Problem]
) -> tuple[Comparison, Labelled, Labelled | None]:
    cells = [cell for cell in plan.cells if session.storage.has(cell.scope, cell.key)]
    known = validated(session.storage, plan, cells)
    test = labelled(gold, collect(session.storage, cells, QuestionSet.TEST)) if gold else None
    try:
        found = compare([adapter.name for adapter in plan.adapters], known, test, seats)
    except ValueError as error:
        raise session.refused(plan, error) from error
    return found, known, test


def _table(found: Comparison, *, tested: bool) -> Any:
    fixed = ("method", "members", "voters")
    numbers = ("voters", "validation", "cross-fitted", "95 %", "p")
    table = plain_table(*fixed, *numbers[1:], numbers=numbers)
    if tested:
        for column in ("test", "95 %", "p"):
            table.add_column(column, justify="right", no_wrap=True)
    mean = ["mean of the members", "", "", share(found.mean_validation), share(found.mean_validation), "", ""]
    table.add_row(*mean, *([share(found.mean_test), "", ""] if tested else []), style="dim")
    table.add_row("best single", found.best.voters[0].name, "1", *_figures(found.best, tested), style="bold")
    for way in found.ways:
        table.add_row(way.spec.method, way.select, str(len(way.voters)), *_figures(way, tested))
    return table


def _floor(asked: Labelled) -> str:
    letter, count = Counter(asked.gold.values()).most_common(1)[0]
    return f"always {letter} {share(count / len(asked.gold))}, chance {share(asked.chance)}"


def _figures(way: Way, tested: bool) -> list[Text]:
    fair = way.estimate.cross_fitted
    cells = [_share(way.estimate.naive), _share(fair), span(fair), chances(way.against_best)]
    if tested:
        cells += [_share(way.test), span(way.test), chances(way.test_against_best)]
    return [Text(cell) for cell in cells]


def _share(score: Score | None) -> str:
    return share(score.accuracy if score else None)


def _json(found: Comparison) -> dict[str, Any]:
    return {
        "mean": {"validation": found.mean_validation, "test": found.mean_test},
        "best_single": _way_json(found.best),
        "ways": [_way_json(way) for way in found.ways],
    }


def _way_json(way: Way) -> dict[str, Any]:
    voters = [{"name": m.name, "weight": m.weight, "temperature": m.temperature} for m in way.voters]
    return {
        "method": way.spec.method,
        "select": way.spec.select,
        "members": way.spec.members,
        "voters": voters,
        "validation": _known(way.estimate.naive),
        "cross_fitted": _known(way.estimate.cross_fitted),
        "against_best": _known(way.against_best),
        "test": _known(way.test),
        "test_against_best": _known(way.test_against_best),
    }


def _known(found: Score | PairedTest | None) -> dict[str, Any] | None:
    return None if found is None else found.to_json()
