"""`nonet explain`: why a run answered a question as it did. Knows columns; what is told is `nonet.runs.explain`'s."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import exp
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.options import json_option, run_argument
from cli.scoring import read_gold
from cli.screen import console
from cli.session import Session
from cli.tables import plain_table, share
from cli.vote import voted
from nonet.questions.problem import Problem, split_questions
from nonet.runs.explain import (
    NEAREST,
    Contested,
    Explanation,
    MemberBallot,
    NoQuestionError,
    contested,
)
from nonet.runs.explain import (
    explain as explained,
)
from nonet.runs.plan import Plan, QuestionSet
from nonet.runs.run_score import remembered_gold
from nonet.voting.aggregation import problems_of, spec_of
from nonet.voting.vote import SOFT, Level, Step

SHOWN = 20
"""Contested questions shown unless told otherwise."""
EXCERPT = 60
"""Characters of a training row's stem."""
_LEVELS = {
    Level.MAJORITY: "most votes",
    Level.LOGPROB: "the sum of log-probabilities",
    Level.MEMBER: "the ballot of the better member on validation",
    Level.LETTER: "the earlier letter",
}


@click.command()
@run_argument
@click.argument("question", required=False, metavar="[QUESTION]")
@click.option("--gold", type=click.Path(path_type=Path, dir_okay=False), help="the test's rows with answers")
@click.option("--nearest", type=click.IntRange(min=0), default=NEAREST, show_default=True, help="rows of each mix")
@click.option("--most", type=click.IntRange(min=1), default=SHOWN, show_default=True, help="contested questions listed")
@json_option
@click.pass_obj
def explain(
    session: Session, run: str | None, question: str | None, gold: Path | None, nearest: int, most: int, as_json: bool
) -> None:
    """Show why RUN answered QUESTION as it did; without QUESTION, list the questions that were decided by the least.

    QUESTION is `id#index` (the index counts from 0), or a unique beginning of it. Shown are every member's ballot with
    its probabilities, the tally and the level at which it was decided, the gold letter where it is known (--gold, or
    from an earlier `nonet score`), and of each mix the training rows whose stems are nearest: by the cosine of TF-IDF
    over characters, 1 is the same text.

    \b
    --json prints an object; fields are added to it, never changed:
      schema 1; run; without QUESTION: questions, a list of {question, letter, level, margin, votes, gold}
      with it: question, shard, stem, text, options; method; gold, right (null where not known); gap (or null)
      ballots: a list of {member, letter, reason, answered, probabilities, votes, weight, temperature, validation}
      verdict (or null) {letter, level majority|logprob|member|letter, margin, votes, abstentions, missing}
      steps: a list of {level, scores, left}; the last leaves the verdict's letter
      nearest: by mix a list of {source, row, similarity, letters, stem}
    """
    plan = session.plan(run)
    letters = gold_letters(session, plan, gold)
    if question is None:
        _list(session, plan, letters, most, as_json)
        return
    found = explanation(session, plan, question, letters, nearest)
    if as_json:
        click.echo(json.dumps(explanation_json(found), ensure_ascii=False, indent=1))
        return
    screen = console()
    for part in _told(found):
        screen.print(part, soft_wrap=isinstance(part, str), markup=False)


def gold_letters(session: Session, plan: Plan, gold: Path | None) -> dict[str, str]:
    """Gold letters by question id: of the file, or of what the run was scored against; {} where there are none."""
    rows: Sequence[Problem] = read_gold(gold) if gold is not None else remembered_gold(session.storage, plan)
    return {question.id: question.gold for question in split_questions(rows) if question.gold is not None}


def explanation(
    session: Session, plan: Plan, question: str, gold: Mapping[str, str], nearest: int = NEAREST
) -> Explanation:
    """The explanation of a question of the run of `plan`; raises RefusedError."""
    try:
        return explained(session.storage, plan, question, gold, nearest)
    except NoQuestionError as error:
        raise RefusedError(str(error), ExitCode.NOT_FOUND) from error
    except ValueError as error:
        raise RefusedError(f"{plan.run}: {error}", ExitCode.BAD_INPUT) from error


def contested_questions(session: Session, plan: Plan, gold: Mapping[str, str], most: int) -> tuple[Contested, ...]:
    """The questions that the vote of `plan` decided by the least; raises RefusedError, MissingBallotsError."""
    result = voted(session, plan, spec_of(plan))
    return contested(result, problems_of(session.storage, plan, QuestionSet.TEST), gold, most)


def _list(session: Session, plan: Plan, gold: Mapping[str, str], most: int, as_json: bool) -> None:
    found = contested_questions(session, plan, gold, most)
    if as_json:
        whole = {"schema": 1, "run": plan.run, "questions": [contested_json(one) for one in found]}
        click.echo(json.dumps(whole, ensure_ascii=False, indent=1))
        return
    known = any(one.gold is not None for one in found)
    table = plain_table(
        "question", "margin", "verdict", "votes", "by", *(["gold"] if known else []), numbers=("margin",)
    )
    for one in found:
        votes = " ".join(f"{letter} {count}" for letter, count in sorted(one.verdict.votes.items()))
        gold_cells = [_gold_text(one.gold, one.verdict.letter)] if known else []
        margin = f"{one.verdict.margin:.3f}"
        table.add_row(Text(one.question.id), margin, one.verdict.letter, votes, one.verdict.level.value, *gold_cells)
    console().print(table)
    click.echo(f"one of them in full: nonet explain {plan.run} '{found[0].question.id}'")


def _gold_text(gold: str | None, letter: str) -> Text:
    if gold is None:
        return Text("-")
    return Text(gold, "green") if gold == letter else Text(f"{gold} (not {letter})", "red")


def _told(found: Explanation) -> Iterator[str | Table | Text]:
    question = found.question
    yield Text(f"{question.id}  of {found.run}, {found.shard}", "bold")
    yield ""
    yield found.problem.stem
    yield ""
    yield question.text
    for letter, option in zip(question.letters, question.options, strict=True):
        yield f"  {letter}. {option}"
    yield ""
    yield _ballots(found)
    yield ""
    yield from _tally(found)
    if found.gold is not None:
        said = {True: ", and so the vote is right", False: ", and so the vote is wrong", None: ""}[found.right]
        yield f"gold       {found.gold}{said}"
    for mix, rows in found.nearest.items():
        yield ""
        yield f"nearest rows of {mix}" + ("" if rows else ": none has three characters in common with the stem")
        for row in rows:
            letters = "".join(row.letters[index] for index in sorted(row.letters))
            excerpt = " ".join(row.stem.split())
            excerpt = excerpt if len(excerpt) <= EXCERPT else f"{excerpt[:EXCERPT]}…"
            yield f"  {row.similarity:.3f}  {row.source}:{row.row}  answers {letters}  {excerpt}"


def _ballots(found: Explanation) -> Table:
    letters = found.question.letters
    table = plain_table(
        "member", "ballot", *letters, "weight", "validation", numbers=(*letters, "weight", "validation")
    )
    for member in found.members:
        weight = "-" if member.voter is None else f"{member.voter.weight:.3g}"
        merit = "-" if member.voter is None else share(member.voter.validation)
        right = found.gold is not None and member.ballot is not None and member.ballot.letter == found.gold
        style = "" if found.gold is None else "green" if right else "red"
        table.add_row(
            Text(member.name), Text(_letter(member), style), *_probabilities(member, len(letters)), weight, merit
        )
    return table


def _letter(member: MemberBallot) -> str:
    if member.ballot is None:
        return "not yet"
    if not member.ballot.asked:
        return "not asked: decided without it"
    return member.ballot.letter or f"abstains: {member.ballot.reason}"


def _probabilities(member: MemberBallot, count: int) -> list[str]:
    held = member.ballot.logprobs if member.ballot else ()
    return [f"{exp(value):.3f}" for value in held] if held else ["-"] * count


def _tally(found: Explanation) -> Iterator[str]:
    if found.verdict is None:
        yield f"no verdict yet: {found.gap}"
        return
    for step in found.steps:
        yield f"{_step_name(step, found.method):10} {_step_text(step)}"
    verdict = found.verdict
    yield f"verdict    {verdict.letter}, decided by {_LEVELS[verdict.level]}, margin {verdict.margin:g}"
    if verdict.unasked:
        yield f"           {verdict.unasked} were not asked; the margin is the least that it could have come to"
    if verdict.abstentions or verdict.missing:
        yield f"           {verdict.abstentions} abstain, {verdict.missing} have no ballot"


def _step_name(step: Step, method: str) -> str:
    return method if step.level is Level.MAJORITY or (step.level is Level.LOGPROB and method in SOFT) else "tie-break"


def _step_text(step: Step) -> str:
    scores = ", ".join(f"{letter} {value:.4g}" for letter, value in sorted(step.scores.items(), key=lambda p: -p[1]))
    left = step.left[0] if len(step.left) == 1 else f"{' and '.join(step.left)} are tied"
    return f"{_LEVELS[step.level]}: {scores}{' → ' if scores else ' '}{left}"


def contested_json(one: Contested) -> dict[str, Any]:
    """A contested question as `explain --json` lists it."""
    verdict = one.verdict
    return {
        "question": one.question.id,
        "letter": verdict.letter,
        "level": verdict.level.value,
        "margin": verdict.margin,
        "votes": dict(verdict.votes),
        "gold": one.gold,
    }


def explanation_json(found: Explanation) -> dict[str, Any]:
    """An explanation as `explain --json` prints it."""
    verdict = found.verdict
    return {
        "schema": 1,
        "run": found.run,
        "question": found.question.id,
        "shard": found.shard,
        "stem": found.problem.stem,
        "text": found.question.text,
        "options": dict(zip(found.question.letters, found.question.options, strict=True)),
        "method": found.method,
        "ballots": [_ballot_json(member, found.question.letters) for member in found.members],
        "verdict": None
        if verdict is None
        else {
            "letter": verdict.letter,
            "level": verdict.level.value,
            "margin": verdict.margin,
            "votes": dict(verdict.votes),
            "abstentions": verdict.abstentions,
            "missing": verdict.missing,
        },
        "steps": [{"level": s.level.value, "scores": dict(s.scores), "left": list(s.left)} for s in found.steps],
        "gap": found.gap or None,
        "gold": found.gold,
        "right": found.right,
        "nearest": {
            mix: [
                {
                    "source": row.source,
                    "row": row.row,
                    "similarity": row.similarity,
                    "letters": {str(index): letter for index, letter in row.letters.items()},
                    "stem": row.stem,
                }
                for row in rows
            ]
            for mix, rows in found.nearest.items()
        },
    }


def _ballot_json(member: MemberBallot, letters: str) -> dict[str, Any]:
    ballot, voter = member.ballot, member.voter
    held = zip(letters, ballot.logprobs, strict=True) if ballot and ballot.logprobs else ()
    return {
        "member": member.name,
        "letter": ballot.letter if ballot else None,
        "reason": ballot.reason.value if ballot and ballot.reason else None,
        "answered": ballot is not None,
        "probabilities": {letter: exp(value) for letter, value in held},
        "votes": voter is not None,
        "weight": voter.weight if voter else None,
        "temperature": voter.temperature if voter else None,
        "validation": voter.validation if voter else None,
    }
