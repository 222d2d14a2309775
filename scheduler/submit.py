"""Submitting: a draft becomes a run on shared storage. Knows the order of the writes, which makes it idempotent.

Inputs and imported adapters first, the plan last: a run exists from the moment its plan does, and a submit that was
killed anywhere can be repeated.
"""

from __future__ import annotations

from nonet.runs.plan import plan_from_json
from nonet.sharing.commit import commit_import
from nonet.stores.storage import Storage
from scheduler.plan import Draft


def submit(storage: Storage, draft: Draft, batch_text: str) -> bool:
    """Make `draft` a run; False when it was one already. A cancelled run is taken up again, a damaged plan mended.

    Raises OSError, nonet.stores.storage.DamagedError.
    """
    for data in draft.inputs.values():
        storage.put_input(data)
    for adapter in draft.imports:
        commit_import(storage, adapter)
    home, store, run = storage.home, storage.store, draft.plan.run
    store.replace(home.batch_text(run), batch_text.encode())
    created = store.create(home.plan(run), draft.plan.to_json())
    if not created and not _readable(store.read(home.plan(run))):
        store.replace(home.plan(run), draft.plan.to_json())
    store.delete(home.cancelled(run))
    return created


def _readable(plan: bytes) -> bool:
    try:
        plan_from_json(plan)
    except (ValueError, KeyError, TypeError):
        return False
    return True


def cancel(storage: Storage, run: str) -> bool:
    """Mark `run` as cancelled, durably; workers stop at their next look. False when it was so already."""
    return storage.store.create(storage.home.cancelled(run), b"{}\n")
