"""Hubs: a base given as owner/name, fetched by the hub's own client into that client's cache.

Knows two clients: huggingface_hub, and modelscope_hub, an extra that is installed where it is wanted. Each resumes as
it can: files that are whole are kept, a connection that breaks goes on where it broke. Knows no batch.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

KINDS = (".json", ".safetensors", ".txt", ".model", ".jinja")
"""Files of a base: what is fetched, and what its digest covers."""
_PATTERNS = [f"*{kind}" for kind in KINDS]
_COMMIT = re.compile("[0-9a-f]{40}")


class Hub(StrEnum):
    """Where a base given by name comes from."""

    HUGGING_FACE = "huggingface"
    MODELSCOPE = "modelscope"

    @property
    def full_name(self) -> str:
        return {"huggingface": "Hugging Face", "modelscope": "ModelScope"}[self.value]


class Snapshot(NamedTuple):
    """A base in a client's cache: its folder, and the commit that it is, where the hub says (else what was asked)."""

    path: Path
    revision: str | None


class HubError(Exception):
    """A base cannot be fetched; `str()` is one sentence with the remedy."""


def fetch(hub: Hub, model: str, revision: str | None = None) -> Snapshot:
    """`model` at `revision` (None: the newest), fetched where it is not whole in the cache already; raises HubError.

    Where Hugging Face cannot be reached, the cache's copy of that revision is taken, if it is whole. Progress goes to
    stderr.
    """
    with _told(hub, model, revision):
        return _from_modelscope(model, revision) if hub is Hub.MODELSCOPE else _from_hugging_face(model, revision)


def cached(hub: Hub, model: str, revision: str | None = None) -> Snapshot | None:
    """`model` as the cache has it, whole, or None; asks no hub. ModelScope's cache does not say what is whole."""
    if hub is Hub.MODELSCOPE:
        return None
    try:
        with _told(hub, model, revision):
            return _from_hugging_face(model, revision, cached_only=True)
    except HubError:
        return None


def _from_hugging_face(model: str, revision: str | None, cached_only: bool = False) -> Snapshot:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(model, revision=revision, allow_patterns=_PATTERNS, local_files_only=cached_only)
    name = Path(folder).name
    return Snapshot(Path(folder), name if _COMMIT.fullmatch(name) else revision)


def _from_modelscope(model: str, revision: str | None) -> Snapshot:
    try:
        from modelscope_hub import HubApi
    except ImportError:
        raise HubError(
            "ModelScope's client is not installed here: .venv/bin/pip install -r config/stacks/modelscope.txt"
        ) from None
    logging.getLogger("modelscope_hub").setLevel(logging.ERROR)  # what it retries is no news
    folder = HubApi().download_repo(model, "model", revision=revision, allow_patterns=_PATTERNS)
    return Snapshot(Path(folder), revision)


@contextmanager
def _told(hub: Hub, model: str, revision: str | None) -> Iterator[None]:
    """What the clients raise, as one sentence for people."""
    name = f"{model} at {revision}" if revision else model
    elsewhere = f"fetch it where there is a network (nonet base fetch {model}), or give the path of a local folder"
    try:
        yield
    except HubError:
        raise
    except OSError as error:
        raise HubError(_reason(hub, name, error, elsewhere)) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("huggingface_hub", "modelscope_hub", "httpx2", "requests"):
            raise
        raise HubError(_reason(hub, name, error, elsewhere)) from error


def _reason(hub: Hub, name: str, error: Exception, elsewhere: str) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
    if "HFValidationError" in kinds or "InvalidParameter" in kinds:
        return f"{name!r} is neither a folder nor a hub id (owner/name)"
    if "GatedRepoError" in kinds:
        return f"{hub.full_name} wants you to accept the terms of {name} on its page and to log in (hf auth login)"
    if "RevisionNotFoundError" in kinds:
        return f"{hub.full_name} has no such revision of {name}; write a commit, a tag or a branch of it"
    if kinds & {"RepositoryNotFoundError", "NotExistError"}:
        return f"{hub.full_name} has no model {name}, or not for this login; look at the name, or log in to the hub"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk of the hub's cache is full: {name} needs more room (HF_HOME or MODELSCOPE_CACHE moves it)"
    if "IncompleteSnapshotError" in kinds:
        return f"the cache has only a part of {name}, and {hub.full_name} cannot be reached from here; {elsewhere}"
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "NetworkError"}:
        nowhere = f"{name} is neither a folder nor whole in the cache"
        return f"{nowhere}, and {hub.full_name} cannot be reached from here; {elsewhere}"
    return f"{name} could not be fetched from {hub.full_name} ({said}); try again (what is whole is kept), {elsewhere}"
