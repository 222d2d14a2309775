"""The error with which a task ends whose work failed, so that Flower shows it as a failure with the reason."""

from __future__ import annotations


class WorkFailedError(Exception):
    """Some units failed or were lost. The history on storage has them; the scheduler decides what comes next."""
