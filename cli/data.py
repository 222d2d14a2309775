"""`nonet data check`, `convert`, `split`: look at rows, make rows of what people have, set a part aside. Knows what is
printed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import click

from cli.errors import RefusedError
from cli.estimate import encoder
from cli.exit_codes import ExitCode
from cli.options import json_option
from nonet.foreign.answer import AnswerKind
from nonet.foreign.conversion import Conversion, converted
from nonet.foreign.shape import AUTO, COLUMNS, SHAPES, named_shape, shape_of, stated, told
from nonet.foreign.table import LeftOut, read_table
from nonet.questions.defect import DefectsError
from nonet.questions.problem import Problem, Question
from nonet.questions.prompt import Prompt
from nonet.questions.rows import dumps, problem_row, read_problems
from nonet.questions.split import split_by_stem
from nonet.questions.survey import PERCENTS, Length, Survey, characters, shared_stems, survey
from nonet.stores.atomic import create_file, replace_file

SHOWN = 8
"""Places of one kind that are named on the screen; a file for what was left out has all."""
_FILE = click.Path(path_type=Path, dir_okay=False)
_ROWS = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group()
def data() -> None:
    """Check rows, convert what people have into rows, set a part aside."""


@data.command(short_help="every defect of files of rows, and what they hold")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=_ROWS)
@click.option("--test", "is_test", is_flag=True, help="a test: answers may be missing [default: where all are missing]")
@click.option("--base", type=click.Path(path_type=Path, file_okay=False, exists=True), help="count its tokens")
@json_option
def check(files: tuple[Path, ...], is_test: bool, base: Path | None, as_json: bool) -> int:
    """Check FILEs of rows: every defect by line and key, then what the files hold.

    Lengths are of whole prompts: in tokens of the --base (a folder), else in characters without the system text.
    """
    length = characters if base is None else token_length(base)
    read = {file: read_rows(file, labelled=False if is_test else None) for file in files}
    defects = [defect for _, found in read.values() for defect in found]
    surveys = {file: survey(problems, length) for file, (problems, _) in read.items()}
    shared = {
        (one, other): count
        for one, other in combinations(read, 2)
        if (count := shared_stems(read[one][0], read[other][0]))
    }
    if as_json:
        click.echo(json.dumps(_check_json(surveys, shared, defects, base is not None), ensure_ascii=False, indent=1))
    else:
        for file, found in surveys.items():
            for line in _survey_lines(file, found, "characters" if base is None else "tokens"):
                click.echo(line)
        for (one, other), count in shared.items():
            click.echo(
                f"{one} and {other} share {count} stems: a mix of the one is refused where the other is the test"
            )
    if defects:
        raise DefectsError(defects)
    return ExitCode.DONE


def read_rows(file: Path, labelled: bool | None = None) -> tuple[tuple[Problem, ...], tuple[Any, ...]]:
    """Problems and defects of a file of rows. `labelled` None: answers must be there unless all are missing."""
    problems, defects = read_problems(file, labelled=bool(labelled))
    answered = any(question.gold is not None for problem in problems for question in problem.questions)
    return read_problems(file, labelled=True) if labelled is None and answered else (problems, defects)


def token_length(base: Path) -> Length:
    """Counts the tokens of a question's whole prompt with its letter, as `base` reads it; raises NoBaseError."""
    encode = encoder(base, Prompt(), 2**31)

    def length(stem: str, question: Question) -> int:
        return len(encode(stem, question.text, question.options).ids) + 1

    return length


def _survey_lines(file: Path, found: Survey, unit: str) -> Iterator[str]:
    yield f"{file}: {'every question has an answer' if found.labelled else _answers(found)}"
    more = f", in {found.stems:,} different stems" if found.stems < found.problems else ""
    yield f"  problems   {found.problems:,}{more}"
    yield f"  questions  {found.questions:,}"
    if not found.questions:
        return
    yield f"  options    {', '.join(f'{options}: {count:,}' for options, count in found.options.items())}"
    if found.gold:
        whole = sum(found.gold.values())
        yield f"  gold       {', '.join(f'{letter} {count / whole:.1%}' for letter, count in found.gold.items())}"
    lengths = [f"{'longest' if p == 100 else f'{p} %'} {found.percentile(p):,}" for p in PERCENTS]
    yield f"  {unit:<10} {', '.join(lengths)}"
    if found.repeated_stems:
        yield f"  repeated   {_some(' = '.join(ids) for ids in found.repeated_stems)}: the same stem in several rows"
    if found.repeated_options:
        yield f"  repeated   {_some(found.repeated_options)}: two options with the same text"


def _answers(found: Survey) -> str:
    if not found.questions:
        return "no question that can be read"
    known = sum(found.gold.values())
    return f"{known:,} of {found.questions:,} questions have an answer" if known else "no answers (a test)"


def _some(names: Iterator[str] | Sequence[str]) -> str:
    every = list(names)
    return ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN} more" if len(every) > SHOWN else "")


def _check_json(
    surveys: dict[Path, Survey], shared: dict[tuple[Path, Path], int], defects: Sequence[Any], tokens: bool
) -> dict[str, Any]:
    return {
        "schema": 1,
        "unit": "tokens" if tokens else "characters",
        "files": [
            {
                "file": str(file),
                "labelled": found.labelled,
                "problems": found.problems,
                "stems": found.stems,
                "questions": found.questions,
                "options": found.options,
                "gold": found.gold,
                "lengths": {str(p): found.percentile(p) for p in PERCENTS} if found.lengths else {},
                "repeated_stems": found.repeated_stems,
                "repeated_options": found.repeated_options,
            }
            for file, found in surveys.items()
        ],
        "shared_stems": [{"files": [str(a), str(b)], "stems": count} for (a, b), count in shared.items()],
        "defects": [
            {"file": d.file, "place": d.place, "found": d.value, "message": d.message, "remedy": d.remedy}
            for d in defects
        ],
    }


def _columns(_: click.Context, __: click.Parameter, written: tuple[str, ...]) -> dict[str, str]:
    named = [entry.partition("=") for one in written for entry in one.split(",")]
    for name, _equals, column in named:
        if name not in COLUMNS or not column:
            raise click.BadParameter(f"{name!r}: write name=column, with a name of {', '.join(COLUMNS)}")
    found = {name: column for name, _, column in named}
    if found and "question" not in found:
        raise click.BadParameter("name the column of the question: question=…")
    return found


@data.command(short_help="rows of JSON, JSON Lines, CSV, TSV, Parquet, LogiQA's text")
@click.argument("source", metavar="IN", type=_ROWS)
@click.option("--to", "target", metavar="OUT", required=True, type=_FILE, help="file of rows to write")
@click.option(
    "--format",
    "name",
    type=click.Choice([AUTO, *(shape.name for shape in SHAPES)]),
    default=AUTO,
    metavar="FORMAT",
    show_default=True,
    help=f"what IN is: {told()}",
)
@click.option(
    "--columns",
    multiple=True,
    callback=_columns,
    metavar="NAME=COLUMN,…",
    help="where a row has what: question, options (one list, or A+B+C+D), answer, stem, id; nested as choices.text",
)
@click.option(
    "--answers",
    type=click.Choice([kind.value for kind in AnswerKind]),
    help="what an answer is: a letter, an index from 0 or from 1, the text of an option [default: told from the file]",
)
@click.option("--left-out", metavar="FILE", type=_FILE, help="write what was left out, a row a line with its reason")
@click.option("--force", is_flag=True, help="overwrite OUT and --left-out's FILE")
def convert(
    source: Path,
    target: Path,
    name: str,
    columns: dict[str, str],
    answers: str | None,
    left_out: Path | None,
    force: bool,
) -> None:
    """Convert IN (JSON, JSON Lines, CSV, TSV, Parquet, LogiQA's text) into rows at OUT.

    Rows that share a stem become one problem. A question without a stem of its own is divided: its last sentence is the
    question where it asks or is left open. Options may stand in the text, marked A, B, C. Nothing is guessed: what
    cannot be told for certain is refused, and each row that is left out is told with its reason.
    """
    if columns and name != AUTO:
        raise click.UsageError("give --format or --columns, not both")
    if source.resolve() == target.resolve():
        raise click.UsageError("IN and OUT are the same file")
    if left_out is not None and left_out.exists() and not force:
        raise _taken(left_out)
    kind = None if answers is None else AnswerKind(answers)
    table = read_table(source)
    shape = named_shape(columns, table, kind) if columns else stated(shape_of(table, name), kind)
    found = converted(table, shape)
    rows = dumps(problem_row(problem) for problem in found.problems)
    if force:
        replace_file(target, rows)
    elif not create_file(target, rows):
        raise _taken(target)
    if left_out is not None:
        replace_file(left_out, dumps(one.to_json() for one in found.left_out))
    kinds = f", answers by {found.answers}" if found.answers else ", no answers (a test)"
    click.echo(f"{source}: {shape.origin}, {len(table.rows) + len(table.left_out):,} rows{kinds}", err=True)
    for line in (*found.notes, *_left_out_lines(found, left_out)):
        click.echo(line, err=True)
    click.echo(f"{target}: {found.questions:,} questions in {len(found.problems):,} problems")


def _taken(file: Path) -> RefusedError:
    return RefusedError(f"{file} exists; give another file, or --force to overwrite it", ExitCode.BAD_INPUT)


def _left_out_lines(found: Conversion, file: Path | None) -> Iterator[str]:
    by_reason: dict[str, list[LeftOut]] = {}
    for one in found.left_out:
        by_reason.setdefault(one.reason, []).append(one)
    if by_reason:
        where = f"; all of them are in {file}" if file else "; --left-out FILE writes all of them"
        yield f"left out {len(found.left_out):,}{where}"
    for reason, group in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        places = [f"{one.place} {one.value}".strip() for one in group]
        yield f"  {len(group):>5,}  {reason}: {_some(places)}"


@data.command(short_help="set a part of a labelled file aside, as a test")
@click.argument("source", metavar="FILE", type=_ROWS)
@click.option("--fraction", type=click.FloatRange(0, 1, True, True), default=0.2, show_default=True, metavar="F")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="another seed sets others aside")
@click.option("--train", "kept", metavar="OUT", required=True, type=_FILE, help="file for the rest")
@click.option("--test", "aside", metavar="OUT", required=True, type=_FILE, help="file for what is set aside")
@click.option("--force", is_flag=True, help="overwrite them")
def split(source: Path, fraction: float, seed: int, kept: Path, aside: Path, force: bool) -> None:
    """Set a part of FILE aside as a test, whole stems at a time, where there is no test of its own.

    Both parts keep their answers: an engine never sees those of a test, and `nonet score` needs them.
    """
    problems, defects = read_rows(source)
    if defects:
        raise DefectsError(defects)
    try:
        parts = dict(zip((kept, aside), split_by_stem(problems, fraction, seed), strict=True))
    except ValueError as error:
        raise RefusedError(f"{source}: {error}", ExitCode.BAD_INPUT) from error
    existing = [file for file in parts if file.exists()]
    if existing and not force:
        raise RefusedError(f"{existing[0]} exists; give another file, or --force", ExitCode.BAD_INPUT)
    for file, part in parts.items():
        replace_file(file, dumps(problem_row(problem) for problem in part))
        click.echo(f"{file}: {sum(len(problem.questions) for problem in part):,} questions in {len(part):,} problems")
