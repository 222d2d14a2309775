"""Imported adapters as artifacts: committed under the key of their content, found again by it. Knows storage."""

from __future__ import annotations

import json
from typing import Any

from nonet.engines.adapter_files import CONFIG, WEIGHTS
from nonet.runs.attempt import Attempts
from nonet.runs.plan import ADAPTERS
from nonet.sharing.checked import CheckedAdapter, check_adapter, content_key, effective_config
from nonet.sharing.found import TOLD, FoundAdapter, NotAnAdapterError
from nonet.stores.storage import Commit, Storage
from nonet.stores.store import Published

PREFIX = 12
"""Fewest digits of a key that name an imported adapter."""


def commit_import(storage: Storage, adapter: CheckedAdapter) -> bool:
    """Commit an adapter under its key; False when it was there already. Raises OSError, DamagedError."""
    if storage.read(ADAPTERS, adapter.key) is not None:
        return False
    weights = adapter.weights()
    epoch = Attempts(storage.home).latest(adapter.key) + 1
    folder = storage.staging(adapter.key, epoch)
    (folder / CONFIG).write_bytes(adapter.config_bytes())
    (folder / WEIGHTS).write_bytes(weights)
    body: dict[str, Any] = {"imported": {"name": adapter.name, "origin": adapter.origin, "told": dict(adapter.told)}}
    return storage.publish(ADAPTERS, adapter.key, epoch, folder=folder, body=body) is Published.COMMITTED


def find_import(storage: Storage, wanted: str) -> CheckedAdapter:
    """The imported adapter whose key begins with `wanted`; raises NotAnAdapterError, DamagedError, OSError."""
    keys = [key for key in storage.committed(ADAPTERS) if key.startswith(wanted)]
    commits = [commit for key in keys if (commit := storage.record(ADAPTERS, key)) and "imported" in commit.body]
    if len(commits) != 1:
        what = f"{len(commits)} imported adapters have keys" if commits else "no imported adapter has a key"
        hint = "give more of it" if commits else "`nonet import` prints the keys"
        raise NotAnAdapterError(f"{storage.store.url}: {what} that begin with {wanted!r}; {hint}")
    commit = storage.read(ADAPTERS, commits[0].key)
    assert commit is not None
    return _again(storage, commit)


def _again(storage: Storage, commit: Commit) -> CheckedAdapter:
    said = commit.body["imported"]
    files = {name: storage.path(stored).read_bytes for name, stored in commit.files.items()}
    files[TOLD] = lambda: json.dumps(said["told"]).encode()
    adapter = check_adapter(FoundAdapter(said["name"], f"imported adapter {commit.key[:PREFIX]}", files))
    if adapter.key != commit.key:
        raise NotAnAdapterError(f"imported adapter {commit.key[:PREFIX]} is not what its key says; import it again")
    return adapter


def imported_key(storage: Storage, commit: Commit) -> str:
    """The key that follows from the content of a committed import whose files were verified."""
    config = json.loads(storage.path(commit.files[CONFIG]).read_bytes())
    return content_key(effective_config(config), commit.files[WEIGHTS].sha256)
