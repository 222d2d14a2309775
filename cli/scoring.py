"""Scoring a submission against gold, for `nonet score` and for Python. Knows what is remembered; prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.session import Session
from nonet.questions.defect import DefectsError
from nonet.questions.problem import Problem, split_questions
from nonet.questions.rows import read_problems
from nonet.questions.submission import read_submission
from nonet.runs.base_results import BaseResult, base_results
from nonet.runs.plan import Plan, QuestionSet
from nonet.runs.results import Floor, floor_of, pairs_with
from nonet.runs.run_score import remember_score
from nonet.runs.workbook import write_logbook
from nonet.voting.aggregation import collect, spec_of
from nonet.voting.labelled import labelled
from nonet.voting.pairs import Pair
from nonet.voting.score import Score, row_answers, score_answers


@dataclass(frozen=True, slots=True)
class Scored:
    """A submission and the members behind it against gold: their scores, McNemar's test of every two of them, what
    needs no model, and the bases where the run has several. `run` is the run's id, or the file's name. `stopped`
    members have no score, since they were not asked what was decided without them.
    """

    run: str
    submission: Score
    members: Mapping[str, Score]
    pairs: tuple[Pair, ...]
    floor: Floor | None
    bases: tuple[BaseResult, ...]
    stopped: tuple[str, ...] = ()


def score_run(session: Session, plan: Plan, gold: Path, submission: Path | None = None) -> Scored:
    """The score of the run of `plan`, or of another `submission` of its test; that of its own is remembered.

    Raises DefectsError, RefusedError, OSError.
    """
    problems = read_gold(gold)
    answers = row_answers(read_submission(_submission(session, plan, submission)))
    if submission is None:
        _refuse_other_test(answers, problems, gold, plan.run)
    total = _scored(answers, problems, plan.run)
    cells = [cell for cell in plan.cells if session.storage.has(cell.scope, cell.key)]
    test = labelled(problems, collect(session.storage, cells, QuestionSet.TEST))
    names = [adapter.name for adapter in plan.adapters]
    stopped = tuple(name for name in names if test.stopped(name))
    members = {name: test.score(test.letters_of(name)) for name in names if name not in stopped}
    if submission is None and remember_score(session.storage, plan, problems, total, members):
        write_logbook(session.storage)
    bases = base_results(session.storage, plan, spec_of(plan), problems) if len(plan.bases) > 1 else ()
    floor = floor_of(split_questions(problems))
    return Scored(plan.run, total, members, pairs_with(test, list(members), answers), floor, bases, stopped)


def score_file(submission: Path, gold: Path) -> Scored:
    """The score of any submission's file; raises DefectsError, RefusedError, OSError."""
    problems = read_gold(gold)
    total = _scored(row_answers(read_submission(submission)), problems, str(submission))
    return Scored(str(submission), total, {}, (), floor_of(split_questions(problems)), ())


def _refuse_other_test(answers: Mapping[str, str | None], gold: tuple[Problem, ...], path: Path, run: str) -> None:
    """Raise RefusedError where `gold` holds questions that the run's test does not have: a score would mean nothing."""
    strange = [question.id for question in split_questions(gold) if question.id not in answers]
    if strange:
        raise RefusedError(
            f"{path}: {len(strange)} of its questions are not in the test of {run} (first: {strange[0]}); "
            "give the gold of that test",
            ExitCode.BAD_INPUT,
        )


def _scored(answers: Mapping[str, str | None], problems: tuple[Problem, ...], run: str) -> Score:
    """Raises RefusedError where nothing is answered."""
    total = score_answers(answers, split_questions(problems))
    if total.missing == total.total:
        raise RefusedError(f"none of the {total.total} questions with gold is answered in {run}", ExitCode.BAD_INPUT)
    return total


def read_gold(path: Path) -> tuple[Problem, ...]:
    """Labelled rows; raises DefectsError with every defect, RefusedError where there is no such file."""
    try:
        problems, defects = read_problems(path, labelled=True)
    except FileNotFoundError:
        raise RefusedError(f"{path} does not exist", ExitCode.NOT_FOUND) from None
    if defects:
        raise DefectsError(defects)
    return problems


def _submission(session: Session, plan: Plan, given: Path | None) -> Path:
    if given is not None and given.exists():
        return given
    place = session.submission_place(plan) if given is None else str(given)
    try:
        return session.store.fetch(given or session.home.submission(plan.run, plan.submission), afresh=True)
    except FileNotFoundError:
        message = f"{place} does not exist yet; `nonet status {plan.run}` says why"
        raise RefusedError(message, ExitCode.BLOCKED if given is None else ExitCode.NOT_FOUND) from None
