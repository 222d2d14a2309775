"""The identity of a base model: where it lies and the SHA-256 over its files. Loads nothing, needs no torch."""

from __future__ import annotations

from pathlib import Path

from nonet.key import canonical, digest
from nonet.known_digest import known_digest
from nonet.plan import BaseModel

_KINDS = (".json", ".safetensors", ".txt", ".model", ".jinja")
_UNSAFE = (".bin", ".pt", ".pth", ".pkl", ".pickle")


class NoBaseError(Exception):
    """The base model cannot be used; the message says what to do."""


def identify_base(model: str, revision: str | None, folder: Path, key: str = "base") -> BaseModel:
    """Find `model`: a folder (absolute or relative to `folder`), otherwise a hub id that the local cache holds.
    `key` is where the batch file names it.

    The digest covers the name and content of every configuration, tokenizer and safetensors file, so that two
    bases with one digest give the same logits. Raises NoBaseError.
    """
    path = (folder / model).resolve()
    if not path.is_dir():
        path = _from_hub(model, revision, key)
    return BaseModel(model, revision, str(path), base_digest(path, key))


def base_digest(path: Path, key: str = "base") -> str:
    """SHA-256 over the base in the folder `path`; raises NoBaseError, OSError."""
    files = sorted(p for p in path.iterdir() if p.is_file() and p.suffix in _KINDS)
    if not (path / "config.json").exists() or not any(p.suffix == ".safetensors" for p in files):
        unsafe = [p.name for p in path.iterdir() if p.suffix in _UNSAFE]
        hint = f"; {unsafe[0]} is not read, convert it to safetensors" if unsafe else ""
        raise NoBaseError(f"{key}.model: {path} holds no config.json with *.safetensors{hint}")
    return digest(canonical([(p.name, known_digest(p)) for p in files]))


def _from_hub(model: str, revision: str | None, key: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [f"*{kind}" for kind in _KINDS]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except HFValidationError:
        raise NoBaseError(f"{key}.model: {model!r} is neither a folder nor a hub id (owner/name)") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise NoBaseError(
            f"{key}.model: {model!r} is not a folder here and could not be fetched from the hub ({reason}); "
            "give the path of a local folder, or fetch it where there is a network"
        ) from None
