"""Submitting: a draft becomes a run on shared storage. Knows the order of the writes, which makes it idempotent.

Inputs first, the plan last: a run exists from the moment its plan does, and a submit that was killed anywhere can be
repeated.
"""

from __future__ import annotations

from pathlib import Path

from nonet.atomic import create_file, replace_file
from nonet.plan import plan_from_json
from nonet.storage import Storage
from scheduler.plan import Draft


def submit(storage: Storage, draft: Draft, batch_text: str) -> bool:
    """Make `draft` a run; False when it was one already. A cancelled run is taken up again, a damaged plan mended.

    Raises OSError.
    """
    for data in draft.inputs.values():
        storage.put_input(data)
    home, run = storage.home, draft.plan.run
    replace_file(home.batch_text(run), batch_text.encode())
    created = create_file(home.plan(run), draft.plan.to_json())
    if not created and not _readable(home.plan(run)):
        replace_file(home.plan(run), draft.plan.to_json())
    home.cancelled(run).unlink(missing_ok=True)
    return created


def _readable(path: Path) -> bool:
    try:
        plan_from_json(path.read_bytes())
    except (ValueError, KeyError, TypeError):
        return False
    return True


def cancel(storage: Storage, run: str) -> bool:
    """Mark `run` as cancelled, durably; workers stop at their next look. False when it was so already."""
    return create_file(storage.home.cancelled(run), b"{}\n")
