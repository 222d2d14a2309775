"""Keys: the content-addressed name of a unit of work. Knows canonical JSON and SHA-256; not what the inputs mean.

Same inputs, same key, same artifact: labels, paths, hosts and times never enter a key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SCHEMA = 1
"""Version of everything that a key promises: raise it when the same inputs would give another result."""


def canonical(value: Any) -> bytes:
    """Canonical JSON of `value`: sorted keys, no spaces, UTF-8; raises ValueError on NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def key_of(kind: str, inputs: Mapping[str, Any]) -> str:
    """The key (64 hex digits) of the artifact of `kind` that `inputs` determine."""
    return digest(canonical({"kind": kind, "schema": SCHEMA, "inputs": dict(inputs)}))


def keys_of(kind: str, inputs: Mapping[str, Any], last: str, values: Sequence[str]) -> list[str]:
    """The keys of artifacts that differ in one input only: `key_of` of `inputs` with each of `values` as `last`.

    `last` must come after every name in `inputs` and the values be ASCII letters and digits, so that what comes before
    them is hashed once: a hundred thousand keys in a tenth of a second. Raises ValueError otherwise.
    """
    strange = [value for value in values if not (value.isascii() and value.isalnum())]
    if strange:
        raise ValueError(f"{strange[0][:80]!r} is not letters and digits")
    mark = json.dumps("\0")
    whole = canonical({"kind": kind, "schema": SCHEMA, "inputs": {**inputs, last: "\0"}}).decode()
    before, found, after = whole.rpartition(mark)
    if not found or any(name >= last for name in inputs):
        raise ValueError(f"{last!r} is not the last of {sorted(inputs)}")
    begun, after = hashlib.sha256(f'{before}"'.encode()), f'"{after}'
    keys = []
    for value in values:
        hashed = begun.copy()
        hashed.update((value + after).encode())
        keys.append(hashed.hexdigest())
    return keys


def digest(data: bytes) -> str:
    """SHA-256 of `data`, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
