"""`nonet diff`: what changed between two runs and their submissions. Knows lines; `nonet.runs.difference` finds it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.explain import gold_letters
from cli.options import json_option
from cli.screen import console
from cli.session import Session
from cli.tables import chances, plain_table, score_text, share, span
from nonet.runs.difference import ChangedVerdict, Difference, Verdicts, difference
from nonet.runs.plan import Plan

SHOWN = 30
"""Changed verdicts shown; --json holds all."""
LONG = 90
"""Characters of a value."""


@click.command()
@click.argument("first", metavar="RUN_A")
@click.argument("second", metavar="RUN_B")
@click.option("--gold", type=click.Path(path_type=Path, dir_okay=False), help="the test's rows with answers")
@json_option
@click.pass_obj
def diff(session: Session, first: str, second: str, gold: Path | None, as_json: bool) -> int:
    """Show what changed from RUN_A to RUN_B: in the batch, member by member, and verdict by verdict, with why.

    A cause is what changes the letter by itself, put into RUN_A's vote alone: the ballots of members that both have,
    who votes, or how it is counted; else it took several together. With gold (--gold, or from an earlier `nonet score`)
    both are scored, with McNemar's exact test.

    Exit codes: 0 the submissions are the same, 10 they differ, 4 one of the runs has not voted.

    \b
    --json prints an object; fields are added to it, never changed:
      schema 1; first, second; changes: a list of {place, first, second}; gap (or null)
      verdicts (or null): shared, only_first, only_second; identical; joined, left
        changed: a list of {question, first, second, margins, levels, causes, ballots, gold}
        members: a list of {first, second, agreement, changed, reasons}
        scores (or null) {first, second, test {only_first, only_second, p}}
    """
    plans = session.plan(first), session.plan(second)
    found = compared_runs(session, *plans, gold)
    if as_json:
        click.echo(json.dumps(difference_json(found), ensure_ascii=False, indent=1))
    else:
        _show(found)
    if found.verdicts is None:
        return ExitCode.BLOCKED
    return ExitCode.DONE if found.verdicts.identical else ExitCode.DIFFERENT


def compared_runs(session: Session, first: Plan, second: Plan, gold: Path | None) -> Difference:
    """What changed between two runs; raises RefusedError."""
    letters = gold_letters(session, first, gold) or gold_letters(session, second, gold)
    try:
        return difference(session.storage, first, second, letters)
    except ValueError as error:
        raise RefusedError(f"{first.run}, {second.run}: {error}", ExitCode.BAD_INPUT) from error


def _show(found: Difference) -> None:
    screen = console()
    screen.print(Text(f"{found.first} → {found.second}", "bold"))
    for change in found.changes:
        screen.print(Text(f"  {change.place}: {_value(change.first)} → {_value(change.second)}"), soft_wrap=True)
    if not found.changes:
        screen.print("  the batches make the same")
    screen.print()
    if found.verdicts is None:
        screen.print(Text(f"verdicts cannot be compared: {found.gap}"), soft_wrap=True)
        return
    screen.print(_members(found.verdicts))
    screen.print()
    if found.verdicts.changed:
        screen.print(_changes(found.verdicts))
        screen.print()
    for line in _totals(found.verdicts):
        screen.print(Text(line), soft_wrap=True)


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONG else f"{text[:LONG]}…"


def _members(verdicts: Verdicts) -> Any:
    table = plain_table("member", "agreement", "changed", "by", numbers=("agreement", "changed"))
    for member in verdicts.members:
        name = member.first if member.first == member.second else f"{member.first} → {member.second}"
        by = ", ".join(member.reasons) or ("nothing of the batch" if member.changed else "-")
        table.add_row(Text(name), share(member.agreement), f"{member.changed:,}", Text(by))
    for name in verdicts.joined:
        table.add_row(Text(name, "green"), "", "", "votes in the second only")
    for name in verdicts.left:
        table.add_row(Text(name, "red"), "", "", "votes in the first only")
    return table


def _changes(verdicts: Verdicts) -> Any:
    known = any(one.gold is not None for one in verdicts.changed)
    table = plain_table("question", "verdict", *(["gold"] if known else []), "margins", "by", "ballots that changed")
    for one in verdicts.changed[:SHOWN]:
        gold = [Text(one.gold or "-", _style(one))] if known else []
        ballots = ", ".join(f"{name} {a or '-'}→{b or '-'}" for name, (a, b) in one.ballots.items())
        letters = f"{one.first.letter} → {one.second.letter}"
        margins = f"{one.first.margin:.3f} {one.second.margin:.3f}"
        by = ", ".join(cause.value for cause in one.causes)
        table.add_row(Text(one.question_id), letters, *gold, margins, by, Text(ballots))
    return table


def _style(one: ChangedVerdict) -> str:
    return {one.first.letter: "red", one.second.letter: "green"}.get(one.gold or "", "")


def _totals(verdicts: Verdicts) -> Iterator[str]:
    changed = len(verdicts.changed)
    if changed > SHOWN:
        yield f"and {changed - SHOWN} more: --json has all"
    causes = Counter(cause.value for one in verdicts.changed for cause in one.causes)
    told = ", ".join(f"{count} by {name}" for name, count in sorted(causes.items()))
    yield f"{changed:,} of {verdicts.shared:,} verdicts changed{f': {told}' if told else ''}"
    if verdicts.only_first or verdicts.only_second:
        yield f"{verdicts.only_first} questions are in the first test only, {verdicts.only_second} in the second only"
    if verdicts.scores is not None:
        first, second, test = verdicts.scores.first, verdicts.scores.second, verdicts.scores.test
        yield f"score {score_text(first)} ({span(first)}) → {score_text(second)} ({span(second)})"
        yield f"right in the first only {test.only_first}, in the second only {test.only_second}, p = {chances(test)}"
    same = "the submissions are the same" if verdicts.identical else "the submissions differ"
    yield same


def difference_json(found: Difference) -> dict[str, Any]:
    """A difference as `diff --json` prints it."""
    verdicts = found.verdicts
    return {
        "schema": 1,
        "first": found.first,
        "second": found.second,
        "changes": [asdict(change) for change in found.changes],
        "gap": found.gap or None,
        "verdicts": None if verdicts is None else _verdicts_json(verdicts),
    }


def _verdicts_json(verdicts: Verdicts) -> dict[str, Any]:
    scores = verdicts.scores
    return {
        "shared": verdicts.shared,
        "only_first": verdicts.only_first,
        "only_second": verdicts.only_second,
        "identical": verdicts.identical,
        "changed": [
            {
                "question": one.question_id,
                "first": one.first.letter,
                "second": one.second.letter,
                "margins": [one.first.margin, one.second.margin],
                "levels": [one.first.level.value, one.second.level.value],
                "causes": [cause.value for cause in one.causes],
                "ballots": {name: list(letters) for name, letters in one.ballots.items()},
                "gold": one.gold,
            }
            for one in verdicts.changed
        ],
        "members": [asdict(member) for member in verdicts.members],
        "joined": list(verdicts.joined),
        "left": list(verdicts.left),
        "scores": None
        if scores is None
        else {"first": scores.first.to_json(), "second": scores.second.to_json(), "test": scores.test.to_json()},
    }
