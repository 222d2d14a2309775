"""The entry of the `nonet` command: its list of commands, global options, and how errors end it. Does no work."""

from __future__ import annotations

import gc
import importlib
import keyword
import os
import sys
import traceback
from typing import NoReturn

import click

import nonet

COMMANDS = {
    "demo": ("cli.demo", "the demo batch from nothing to a scored submission, on this machine"),
    "init": ("cli.init", "write a batch file for the data that it is pointed at"),
    "data": ("cli.data", "check rows; convert what people have into rows; split"),
    "base": ("cli.base", "fetch a base from a hub"),
    "plan": ("cli.batch", "what a batch would train and answer, and what is reused; queues nothing"),
    "submit": ("cli.batch", "queue a batch"),
    "schema": ("cli.batch", "print the JSON Schema of the batch file, for editors"),
    "status": ("cli.status", "where a run stands: the grid, attempts, errors"),
    "watch": ("cli.watch", "follow a run until it ends"),
    "rerun": ("cli.rerun", "try again what has failed, and nothing else"),
    "cancel": ("cli.rerun", "stop a run, durably"),
    "logs": ("cli.logs", "logs of a run's attempts"),
    "vote": ("cli.vote", "vote again with other settings, from the ballots at hand"),
    "score": ("cli.vote", "score a run against gold answers"),
    "explain": ("cli.explain", "why a run answered a question as it did; which were close"),
    "verify": ("cli.verify", "check a run, from its plan to its submission; changes nothing"),
    "diff": ("cli.diff", "what changed between two runs and their submissions, and why"),
    "report": ("cli.report", "write a run's report: one HTML page with its figures"),
    "logbook": ("cli.logbook", "write log.xlsx again: every run's adapters and votes, by base"),
    "export": ("cli.share", "pack a run for others: adapters, model card, batch, ballots, report"),
    "import": ("cli.share", "take adapters that were trained elsewhere as members"),
    "pseudo": ("cli.pseudo", "the vote's answers as labels for the next batch"),
    "up": ("cli.fleet", "the whole fleet on this machine, until Ctrl-C"),
    "worker": ("cli.fleet", "one worker"),
    "scheduler": ("cli.fleet", "one scheduler"),
    "flower": ("cli.fleet", "Flower on this fleet"),
    "serve": ("cli.serve", "the page: runs, grid, attempts and logs, rerun and cancel, in a browser"),
    "metrics": ("cli.fleet", "the fleet's metrics, for Prometheus"),
    "doctor": ("cli.doctor", "check this machine and the fleet"),
}
"""Every command with its module (imported when it is called) and what it does."""


class Commands(click.Group):
    """The commands of COMMANDS, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = getattr(module, f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Call the command; a reader that has left (`nonet logs | head`) ends it without an error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from cli.exit_codes import MEANINGS

        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code.value), text) for code, text in MEANINGS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--home", help="Shared storage: a folder, or s3://bucket/prefix [NONET_HOME; default: .nonet]")
@click.version_option(nonet.__version__, prog_name="nonet")
@click.pass_context
def nonet_command(ctx: click.Context, home: str | None) -> None:
    """Train LoRA adapters, one a data mix, and let them vote, on a fleet of Celery workers.

    RUN is a run's id, a unique prefix of it, or `latest` (the default). Further settings are NONET_* variables.
    """
    from cli.session import Session
    from config.settings import Settings

    ctx.obj = Session(Settings(home=home) if home else Settings())


COLLECT_EVERY = 50_000
"""Objects made between two collections of garbage. A large run is some 300,000 records that stay: with Python's 700,
a third of the time of `nonet status` went into looking through them again and again (bench/scale.py)."""


def main() -> NoReturn:
    """Run the command line and exit with one of `cli.exit_codes`."""
    from cli.exit_codes import ExitCode

    gc.set_threshold(COLLECT_EVERY)
    try:
        code = nonet_command.main(prog_name="nonet", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        code = ExitCode.INTERRUPTED
    except Exception as error:
        code = _failed(error)
    sys.exit(int(code or 0))


def _failed(error: Exception) -> int:
    from cli.errors import explain

    explained = explain(error)
    if explained is None:
        traceback.print_exception(error)
        click.echo("nonet: this is a defect of Nonet; please report the lines above", err=True)
        return 1
    message, code = explained
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    click.echo(f"nonet: {message}", err=True)
    return code
