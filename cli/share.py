"""`nonet export` and `import`: runs packed for others, adapters from elsewhere. Knows where packs go, what to say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from cli.errors import RefusedError
from cli.exit_codes import ExitCode
from cli.options import json_option, run_argument
from cli.session import Session
from nonet.bases.base import base_shapes
from nonet.bases.fingerprint import identify_base
from nonet.bases.hub import HubError, fetch
from nonet.plural import counted
from nonet.runs.plan import BaseModel, Plan
from nonet.sharing.archive import write_folder, write_tar
from nonet.sharing.checked import CheckedAdapter, check_adapter, misfit_of
from nonet.sharing.commit import PREFIX, commit_import
from nonet.sharing.found import FoundAdapter, NotAnAdapterError, find_adapters
from nonet.sharing.pack import NothingToPackError, pack_files

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@click.command()
@run_argument
@click.option("--to", type=click.Path(path_type=Path), help="a file that ends in .tar, or a folder [default: RUN.tar]")
@click.option(
    "--data/--no-data", default=True, help="the rows of test, validation and mixes, and the report [default: yes]"
)
@click.option("--ballots/--no-ballots", default=True, help="every member's answers [default: yes]")
@click.pass_obj
def export(session: Session, run: str | None, to: Path | None, data: bool, ballots: bool) -> None:
    """Pack RUN: its adapters in peft's format, a model card, the batch, the submission, ballots, report, checksums.

    The same run gives the same pack to the byte. No path, host or worker of this fleet is in it. Gold answers of the
    test are never packed, those of validation and mixes are, unless --no-data is given; without the data it has no
    report, either, which shows some.
    """
    plan = session.plan(run)
    path = to or Path(f"{plan.run}.tar")
    count, size = exported(session, plan, path, data=data, ballots=ballots)
    click.echo(f"{path}: {counted(count, 'file')}, {size / 1e6:,.1f} MB")


def exported(session: Session, plan: Plan, path: Path, *, data: bool = True, ballots: bool = True) -> tuple[int, int]:
    """Pack the run of `plan` at `path`; the number of files, and bytes. Raises RefusedError."""
    names: list[str] = []

    def counted() -> Iterator[tuple[str, bytes]]:
        for name, content in pack_files(session.storage, session.attempts, plan, data=data, ballots=ballots):
            names.append(name)
            yield name, content

    try:
        size = write_tar(path, plan.run, counted()) if path.suffix == ".tar" else write_folder(path, counted())
    except (NothingToPackError, FileExistsError) as error:
        raise RefusedError(str(error), ExitCode.USAGE if isinstance(error, OSError) else ExitCode.BLOCKED) from error
    return len(names), size


@click.command("import")
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--adapter", "names", multiple=True, metavar="NAME", help="only this one of a pack; repeatable")
@click.option("--base", metavar="BASE", help="check against this base: a folder, or its name on the hub")
@json_option
@click.pass_obj
def import_(session: Session, path: Path, names: tuple[str, ...], base: str | None, as_json: bool) -> None:
    """Take the adapters at PATH into this home: a folder in peft's format, a pack of `nonet export`, or OWNER/NAME of
    the hub.

    They are checked (LoRA, safetensors, finite, nothing that an engine cannot do; with --base also shapes and the
    base's identity) and kept under a key made of their content. A batch file names them under `adapters:`, by key or by
    PATH; with PATH, submitting the batch imports them.
    """
    found = imported(session, path, names, base)
    if as_json:
        listed = [{"name": a.name, "key": a.key, "rank": a.rank, "origin": a.origin, "new": new} for a, new in found]
        click.echo(json.dumps({"schema": 1, "adapters": listed}, ensure_ascii=False, indent=1))
        return
    for adapter, new in found:
        click.echo(f"{adapter.name}: {'imported' if new else 'known already'}, rank {adapter.rank}, {adapter.origin}")
    click.echo("adapters:")
    for adapter, _ in found:
        click.echo(f"  {adapter.name.replace('@', '-')}: {{import: {adapter.key[: PREFIX + 4]}}}")


def imported(
    session: Session, path: Path, names: tuple[str, ...] = (), base: str | None = None
) -> tuple[tuple[CheckedAdapter, bool], ...]:
    """Check and commit the adapters at `path` (those called `names`, or all); each with whether it is new.

    Nothing is committed unless all are sound. Raises RefusedError, NoBaseError.
    """
    try:
        found = _on_hub(session, path) or find_adapters(path)
        unknown = sorted(set(names) - {one.name for one in found})
        if unknown:
            held = ", ".join(one.name for one in found)
            raise NotAnAdapterError(f"{path} holds no {', '.join(unknown)}; it holds {held}")
        checked = [check_adapter(one) for one in found if not names or one.name in names]
        if base is not None:
            _refuse_misfits(checked, identify_base(base, None, Path.cwd(), "--base", session.settings.hub))
    except (NotAnAdapterError, HubError) as error:
        raise RefusedError(str(error), ExitCode.BAD_INPUT) from error
    except FileNotFoundError:
        raise RefusedError(f"{path} does not exist", ExitCode.NOT_FOUND) from None
    return tuple((adapter, commit_import(session.storage, adapter)) for adapter in checked)


def _on_hub(session: Session, path: Path) -> tuple[FoundAdapter, ...]:
    """The adapters of the repository that `path` names, fetched; () where it is a path. Raises HubError."""
    name = str(path)
    if path.exists() or not _HUB_NAME.fullmatch(name):
        return ()
    found = find_adapters(fetch(session.settings.hub, name).path)
    return tuple(replace(one, name=path.name) for one in found) if len(found) == 1 else found


def _refuse_misfits(checked: list[CheckedAdapter], base: BaseModel) -> None:
    shapes = base_shapes(base.path)
    for adapter in checked:
        if adapter.base_digest not in (None, base.digest):
            trained = f"it was trained over {adapter.base_digest:.12}"
            raise NotAnAdapterError(f"{adapter.place}: {trained}, {base.model} is {base.digest:.12}")
        misfit = misfit_of(adapter, shapes)
        if misfit is not None:
            raise NotAnAdapterError(f"{adapter.place}: it does not fit {base.model}: {misfit}")
