"""Keys: the content-addressed name of a unit of work. Knows canonical JSON and SHA-256; not what the inputs mean.

Same inputs, same key, same artifact: labels, paths, hosts and times never enter a key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
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


def digest(data: bytes) -> str:
    """SHA-256 of `data`, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
