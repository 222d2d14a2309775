"""A home from Python: its runs, batches to plan and submit, adapters to import. Knows no table and no screen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cli.batch import drafted, submitted
from cli.session import Session
from cli.share import imported
from config.settings import Settings
from nonet.runs.difference import Difference
from nonet.runs.plan import Plan
from nonet.sharing.checked import CheckedAdapter
from nonet_client.run import Run

PathLike = str | os.PathLike[str]


class Nonet:
    """A home and the fleet that works on it, if one can be reached.

    `home` is a folder or `s3://bucket/prefix`, None: NONET_HOME, or `.nonet`. `settings` go over the NONET_* variables,
    by their names in config/settings.py (`engine="vllm"`). Raises pydantic.ValidationError for a wrong one.
    """

    def __init__(self, home: PathLike | None = None, **settings: Any) -> None:
        given: dict[str, Any] = {} if home is None else {"home": str(home)}
        self.session = Session(Settings(**given, **settings))

    def __repr__(self) -> str:
        return f"Nonet({self.session.store.url!r})"

    def plan(self, batch: PathLike) -> Plan:
        """What the batch file would make; queues nothing. Raises DefectsError with every defect, NoBaseError."""
        return drafted(self.session, Path(batch))[1].plan

    def submit(self, batch: PathLike, *, anyway: bool = False) -> Run:
        """Queue the batch file, and wake the fleet; the same batch again is the same run.

        `anyway`: although no worker that is known can do all of it. Raises DefectsError, NoBaseError, RefusedError.
        """
        plan, _ = submitted(self.session, Path(batch), anyway=anyway)
        self.session.wake()
        return Run(self.session, plan)

    def runs(self) -> tuple[Run, ...]:
        """Every run, the latest submitted last."""
        return tuple(self.run(name) for name in self.session.runs())

    def run(self, name: str | None = None) -> Run:
        """The run with this id, or a unique beginning of it; None: the latest. Raises RefusedError."""
        return Run(self.session, self.session.plan(name))

    def diff(self, first: str, second: str, gold: PathLike | None = None) -> Difference:
        """What changed from one run to another; raises RefusedError."""
        return self.run(first).diff(second, gold)

    def import_adapters(self, path: PathLike, *names: str, base: PathLike | None = None) -> tuple[CheckedAdapter, ...]:
        """Take the adapters at `path` (those called `names`, or all) into the home; raises RefusedError.

        Their `key` is what a batch file names under `adapters`.
        """
        found = imported(self.session, Path(path), names, None if base is None else str(base))
        return tuple(adapter for adapter, _ in found)
