"""A base's files as transformers 4.42 with tokenizers 0.19 reads them. Knows JSON and names of files; no library.

Newer versions write the same facts elsewhere: `dtype`, `rope_parameters`, merges as pairs, a chat template of its own.
Read by the older ones as they stand, such files are an error at best and another model at worst.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NEW_TOKENIZER = "TokenizersBackend"
_OLD_TOKENIZER = "PreTrainedTokenizerFast"


@contextmanager
def files_of_transformers_4(path: str) -> Iterator[str]:
    """A temporary folder with the base at `path`: three files in the old form, links to all others.

    Raises FileNotFoundError, and ValueError for a base that transformers 4.42 with auto-gptq 0.7.1 would misread.
    """
    base = Path(path).resolve()
    with tempfile.TemporaryDirectory(prefix="nonet-base-") as name:
        folder = Path(name)
        for file in base.iterdir():
            (folder / file.name).symlink_to(file)
        _replace(folder / "config.json", old_config(_read(base / "config.json"), str(base / "config.json")))
        if (base / "tokenizer.json").is_file():
            _replace(folder / "tokenizer.json", old_tokenizer(_read(base / "tokenizer.json")))
        if (base / "tokenizer_config.json").is_file():
            template = base / "chat_template.jinja"
            text = template.read_text("utf-8") if template.is_file() else None
            settings = old_tokenizer_settings(_read(base / "tokenizer_config.json"), text)
            _replace(folder / "tokenizer_config.json", settings)
        yield name


def old_config(config: Mapping[str, Any], place: str) -> dict[str, Any]:
    """config.json with `torch_dtype` and `rope_theta`; raises ValueError, which begins with `place`.

    auto-gptq 0.7.1 knows one layout of zero points and does not look which one a base has; Qwen2 of transformers 4.42
    knows one kind of rotary embedding.
    """
    old = dict(config)
    layout = (config.get("quantization_config") or {}).get("checkpoint_format", "gptq")
    if layout != "gptq":
        raise ValueError(f"{place}: checkpoint_format is {layout!r}, auto-gptq reads 'gptq' only; use another stack")
    if "dtype" in old:
        old.setdefault("torch_dtype", old.pop("dtype"))
    rope = old.pop("rope_parameters", None) or {}
    kind = rope.get("rope_type", "default")
    if kind != "default":
        raise ValueError(f"{place}: rope_type is {kind!r}, transformers 4.42 knows 'default' only; use another stack")
    if "rope_theta" in rope:
        old["rope_theta"] = rope["rope_theta"]
    return old


def old_tokenizer(tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer.json with each merge as one text, "a b"; raises ValueError where a part of a merge holds a space."""
    model = dict(tokenizer["model"])
    if "merges" in model:
        model["merges"] = [_merge(merge) for merge in model["merges"]]
    return {**tokenizer, "model": model}


def old_tokenizer_settings(settings: Mapping[str, Any], template: str | None) -> dict[str, Any]:
    """tokenizer_config.json with the chat template in it, and a class that the older version has."""
    old = dict(settings)
    if template is not None:
        old["chat_template"] = template
    if old.get("tokenizer_class") == _NEW_TOKENIZER:
        old["tokenizer_class"] = _OLD_TOKENIZER
    return old


def _merge(merge: Any) -> str:
    if isinstance(merge, str):
        return merge
    if any(" " in part for part in merge):
        raise ValueError(f"tokenizer.json: the merge {merge} holds a space, which tokenizers 0.19 cannot read")
    return " ".join(merge)


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def _replace(link: Path, content: Mapping[str, Any]) -> None:
    link.unlink()
    link.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
