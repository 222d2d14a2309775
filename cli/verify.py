"""`nonet verify`: whether a run's files are sound and its submission follows from them. Knows lines and exit codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.text import Text

from cli.exit_codes import ExitCode
from cli.options import json_option, run_argument
from cli.screen import console
from cli.session import Session
from nonet.verification import Check, Outcome
from nonet.verification import verify as verified

_STYLES = {Outcome.PASS: "green", Outcome.FAIL: "bold red", Outcome.MISSING: "bold", Outcome.UNCHECKED: "dim"}
_WIDTH = max(len(outcome.value) for outcome in Outcome)


@click.command()
@run_argument
@json_option
@click.pass_obj
def verify(session: Session, run: str | None, as_json: bool) -> int:
    """Check RUN from its plan to its submission. Changes nothing, and needs no fleet and no GPU.

    Checked are the plan, the checksums of every input, adapter, ballot and vote, and of a base that lies on this
    machine; that keys follow from their inputs; that each member has one ballot on each question; and that the vote,
    taken again from the ballots, gives the submission to the byte. Each line begins with PASS, FAIL, MISSING (not made
    yet) or UNCHECKED (nothing here to compare it with). It finds damage, not malice: who can write the storage can
    change all of it together.

    Exit codes: 0 all sound, 4 something is missing, 9 something failed.

    --json: schema 1; run; sound; checks, a list of {outcome pass|fail|missing|unchecked, what, text, remedy}.
    """
    plan = session.plan(run)
    found = verified(session.storage, plan)
    if as_json:
        whole = {"schema": 1, "run": plan.run, "sound": sound(found), "checks": [asdict(check) for check in found]}
        click.echo(json.dumps(whole, ensure_ascii=False, indent=1))
        return exit_code(found)
    screen = console()
    for check in found:
        head = Text(f"{check.outcome.value.upper():{_WIDTH}}  {check.what}: ", _STYLES[check.outcome])
        screen.print(Text.assemble(head, check.text), soft_wrap=True)
        if check.remedy:
            screen.print(Text(f"{'':{_WIDTH}}  {check.remedy}"), soft_wrap=True)
    failed, missing = (sum(c.outcome is kind for c in found) for kind in (Outcome.FAIL, Outcome.MISSING))
    result = "sound" if sound(found) else f"{failed} failed, {missing} missing"
    click.echo(f"{plan.run}: {result}")
    return exit_code(found)


def sound(found: Sequence[Check]) -> bool:
    """Whether nothing failed and nothing is missing."""
    return exit_code(found) is ExitCode.DONE


def exit_code(found: Sequence[Check]) -> ExitCode:
    outcomes = {check.outcome for check in found}
    if Outcome.FAIL in outcomes:
        return ExitCode.STORAGE
    return ExitCode.BLOCKED if Outcome.MISSING in outcomes else ExitCode.DONE
