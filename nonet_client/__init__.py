"""Nonet from Python: what the `nonet` command does, as records and tables, for notebooks and scripts.

`Nonet` is a home, `Run` one of its runs; docs/python.md shows both. Everything here calls the functions that the
command calls, and prints nothing. pandas is imported by the methods that return tables.
"""

from __future__ import annotations

from cli.errors import RefusedError
from nonet.questions.defect import DefectsError
from nonet.voting.vote import MissingBallotsError
from nonet_client.client import Nonet
from nonet_client.run import Run

__all__ = ["DefectsError", "MissingBallotsError", "Nonet", "RefusedError", "Run"]
