"""`nonet init`: a batch file for the data that it is pointed at. Knows where to look and what to say next."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from cli.data import read_rows
from cli.errors import RefusedError
from cli.estimate import encoder
from cli.exit_codes import ExitCode
from cli.session import Session
from config.batch import load_batch
from config.proposal import NoTestError, Proposal, propose
from config.proposal_text import Lengths, batch_text
from nonet.bases.fingerprint import NoBaseError
from nonet.bases.hub import Hub, cached
from nonet.foreign.table import SUFFIXES
from nonet.questions.defect import DefectsError
from nonet.questions.problem import Problem
from nonet.questions.prompt import Prompt
from nonet.stores.atomic import create_file, replace_file

BASE = "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4"
"""What is proposed where nobody names a base and none lies here: four bits, and small enough for most GPUs."""
_NO_LIMIT = 2**31


@click.command()
@click.argument("data", nargs=-1, metavar="[DATA]...", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("batch.yaml"), show_default=True)
@click.option("--base", help=f"a model's folder, or owner/name of a hub [default: the one in ./models, else {BASE}]")
@click.option("--test", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="the file to be answered")
@click.option("--name", help="name of the batch [default: that of OUT's folder]")
@click.option("--force", is_flag=True, help="overwrite OUT")
@click.pass_obj
def init(
    session: Session,
    data: tuple[Path, ...],
    out: Path,
    base: str | None,
    test: Path | None,
    name: str | None,
    force: bool,
) -> None:
    """Write a batch file for DATA: files of rows, and folders with them (default: this folder).

    The file without answers is the test, those with answers are sources; a part of the gold is held out, and there are
    mixes of all of it, of samples and of other labellings. Who labelled a file is told from its name. max_length is
    measured where the base's tokenizer is at hand. Other data becomes rows by `nonet data convert`.
    """
    if out.exists() and not force:
        raise RefusedError(f"{out} exists; give another --out, or --force to overwrite it", ExitCode.BAD_INPUT)
    folder = out.absolute().parent
    files = _read(data or (Path("."),), test)
    try:
        proposal = propose(files, test)
    except NoTestError as error:
        raise RefusedError(str(error), ExitCode.BAD_INPUT) from error
    chosen, place = _base(base, folder, session.settings.hub)
    text = batch_text(name or _name(folder), chosen, proposal, _lengths(place, files, proposal), folder)
    if force:
        replace_file(out, text.encode())
    elif not create_file(out, text.encode()):
        raise RefusedError(f"{out} exists already; --force overwrites it", ExitCode.BAD_INPUT)
    load_batch(out)
    for line in _summary(out, proposal):
        click.echo(line)
    if place is None:
        click.echo(f"the base {chosen} is not here: nonet base fetch {chosen}, or --base with a folder")
    click.echo(f"look at {out}, then: nonet plan {out}")


def _summary(out: Path, proposal: Proposal) -> Iterator[str]:
    sources = ", ".join(f"{source.name} ({source.labels})" for source in proposal.sources)
    yield f"{out}: {len(proposal.mixes)} mixes of {sources}; the test is {proposal.test}"
    for path in proposal.gold:
        yield f"{path} holds the test's own answers: nothing is trained on it"
    for path, stems in proposal.leaking:
        yield f"{path} is left out: it shares {stems} stems with the test"


def _read(data: Sequence[Path], test: Path | None) -> dict[Path, tuple[Problem, ...]]:
    """The problems of every file of rows; raises DefectsError with all defects, RefusedError where there is none."""
    found = [path for given in data for path in (sorted(given.glob("*.jsonl")) if given.is_dir() else [given])]
    paths = list(dict.fromkeys([*found, *([test] if test else [])]))
    foreign = [path for path in paths if path.suffix != ".jsonl"]
    if foreign:
        remedy = f"nonet data convert {foreign[0]} --to {foreign[0].with_suffix('.jsonl')}"
        raise RefusedError(f"{foreign[0]} is no file of rows (.jsonl); make one of it: {remedy}", ExitCode.BAD_INPUT)
    if not paths:
        others = [p for given in data if given.is_dir() for p in sorted(given.iterdir()) if p.suffix in SUFFIXES]
        hint = f"; nonet data convert makes rows of {others[0]}" if others else ""
        where = ", ".join(map(str, data))
        raise RefusedError(f"no file of rows (*.jsonl) in {where}: name files or folders{hint}", ExitCode.BAD_INPUT)
    read = {path: read_rows(path) for path in paths}
    for path in [
        path for path, (problems, of_file) in read.items() if not problems and len(of_file) and path not in data
    ]:
        if path != test:
            click.echo(f"{path} is passed over: it holds no rows ({len(read.pop(path)[1])} defects)", err=True)
    if not read:
        raise RefusedError(f"no file of rows among {', '.join(map(str, paths))}", ExitCode.BAD_INPUT)
    defects = [defect for _, of_file in read.values() for defect in of_file]
    if defects:
        raise DefectsError(defects)
    return {path: problems for path, (problems, _) in read.items()}


def _name(folder: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("._-")[:64] or "batch"


def _base(given: str | None, folder: Path, hub: Hub) -> tuple[str, Path | None]:
    """(the base as the batch file in `folder` names it, its folder if it is here)."""
    if given is None:
        here = [path.parent for path in sorted(Path("models").glob("*/config.json"))]
        given = str(here[0]) if len(here) == 1 else BASE
    if Path(given).is_dir():
        relative = os.path.relpath(given, folder)
        return (relative if relative.startswith(".") else f"./{relative}"), Path(given)
    if given.startswith((".", "/", "~")):
        raise RefusedError(f"--base {given}: there is no such folder", ExitCode.BAD_INPUT)
    found = cached(hub, given, None)
    return given, found.path if found else None


def _lengths(base: Path | None, files: dict[Path, tuple[Problem, ...]], proposal: Proposal) -> Lengths | None:
    """The lengths of all prompts of sources and test; None where the base has no tokenizer to count with."""
    if base is None:
        return None
    try:
        encode = encoder(base, Prompt(), _NO_LIMIT)
        used = [proposal.test, *(source.path for source in proposal.sources)]
        asked = [(problem.stem, question) for path in used for problem in files[path] for question in problem.questions]
        prompts = [len(encode(stem, question.text, question.options).ids) + 1 for stem, question in asked]
        bare = max(len(encode("", question.text, question.options).ids) + 1 for _, question in asked)
    except NoBaseError as error:
        click.echo(f"max_length is not measured: {error}", err=True)
        return None
    return Lengths(tuple(sorted(prompts)), bare)
