"""The identity of a base model: where it lies and the SHA-256 over its files. Loads nothing, needs no torch."""

from __future__ import annotations

from pathlib import Path

from nonet.bases.hub import KINDS, Hub, HubError, fetch
from nonet.bases.known_digest import known_digest
from nonet.runs.plan import BaseModel
from nonet.stores.key import canonical, digest

_UNSAFE = (".bin", ".pt", ".pth", ".pkl", ".pickle")


class NoBaseError(Exception):
    """The base model cannot be used; the message says what to do."""


def identify_base(
    model: str, revision: str | None, folder: Path, key: str = "base", hub: Hub = Hub.HUGGING_FACE
) -> BaseModel:
    """Find `model`: a folder (absolute or relative to `folder`), otherwise a name on `hub`, which is fetched where the
    cache does not hold it; its revision is then the commit that was found. `key` is where the batch file names it.

    The digest covers the name and content of every configuration, tokenizer and safetensors file, so that two
    bases with one digest give the same logits. Raises NoBaseError.
    """
    path = (folder / model).resolve()
    if not path.is_dir():
        try:
            path, revision = fetch(hub, model, revision)
        except HubError as error:
            raise NoBaseError(f"{key}.model: {error}") from error
    return BaseModel(model, revision, str(path), base_digest(path, key))


def base_digest(path: Path, key: str = "base") -> str:
    """SHA-256 over the base in the folder `path`; raises NoBaseError, OSError."""
    files = sorted(p for p in path.iterdir() if p.is_file() and p.suffix in KINDS)
    if not (path / "config.json").exists() or not any(p.suffix == ".safetensors" for p in files):
        unsafe = [p.name for p in path.iterdir() if p.suffix in _UNSAFE]
        hint = f"; {unsafe[0]} is not read, convert it to safetensors" if unsafe else ""
        raise NoBaseError(f"{key}.model: {path} holds no config.json with *.safetensors{hint}")
    return digest(canonical([(p.name, known_digest(p)) for p in files]))
