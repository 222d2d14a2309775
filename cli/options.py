"""Arguments and options that several commands share. Knows their names and help, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])

run_argument: Callable[[_F], _F] = click.argument("run", required=False, metavar="[RUN]")
json_option: Callable[[_F], _F] = click.option("--json", "as_json", is_flag=True, help="print JSON")
batch_argument: Callable[[_F], _F] = click.argument("batch_file", metavar="BATCH", type=click.Path(path_type=Path))
