"""A base's tokenizer without transformers: as `plan` and `submit` count tokens with, on machines without a stack.

Knows `tokenizer.json` (through tokenizers) and chat templates (through jinja2, in its sandbox: a template comes with
the base and is not trusted). Makes the same ids as transformers does in the compute process; a test compares them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from nonet.bases.fingerprint import NoBaseError

SLOW = "write one where transformers is installed: AutoTokenizer.from_pretrained(base).save_pretrained(base)"


class Tokenizer:
    """The tokenizer in the folder of a base; raises NoBaseError where there is none that can be read."""

    def __init__(self, base: Path) -> None:
        from tokenizers import Tokenizer as Pipeline

        file = base / "tokenizer.json"
        if not file.is_file():
            raise NoBaseError(f"base.model: {base} has no tokenizer.json; {SLOW}")
        try:
            self._pipeline = Pipeline.from_file(str(file))
        except Exception as error:  # tokenizers raises Exception itself
            raise NoBaseError(f"base.model: {file} cannot be read ({error}); fetch the base again") from error
        self._pipeline.no_truncation()
        self._pipeline.no_padding()
        self._base = base
        self._settings = _settings(base / "tokenizer_config.json")

    @property
    def eos_token_id(self) -> int | None:
        token = self._settings.get("eos_token")
        text = token.get("content") if isinstance(token, Mapping) else token
        return None if text is None else self._pipeline.token_to_id(text)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """The token ids of `text`."""
        return list(self._pipeline.encode(text, add_special_tokens=add_special_tokens).ids)

    def apply_chat_template(self, chat: Sequence[Mapping[str, str]], *, tokenize: bool, **options: Any) -> str:
        """The text of `chat`; raises NoBaseError where the template refuses it. `tokenize` must be False."""
        from jinja2 import TemplateError

        assert not tokenize
        try:
            return str(self._template.render(messages=chat, **self._special_tokens(), **options))
        except TemplateError as error:
            raise NoBaseError(f"base.model: the chat template of {self._base} refuses a prompt: {error}") from error

    @cached_property
    def _template(self) -> Any:
        from jinja2 import TemplateSyntaxError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
        try:
            return environment.from_string(self._template_text())
        except TemplateSyntaxError as error:
            raise NoBaseError(f"base.model: the chat template of {self._base} is damaged: {error}") from error

    def _template_text(self) -> str:
        file = self._base / "chat_template.jinja"
        if file.is_file():
            return file.read_text("utf-8")
        text = self._settings.get("chat_template")
        if isinstance(text, list):  # several by name
            text = {entry["name"]: entry["template"] for entry in text}.get("default")
        if not isinstance(text, str):
            raise NoBaseError(f"base.model: {self._base} has no chat template; use an instruct base")
        return text

    def _special_tokens(self) -> dict[str, str]:
        """The tokens that a template may name: bos_token, eos_token, …"""
        named = {name: value for name, value in self._settings.items() if name.endswith("_token")}
        texts = {name: v.get("content") if isinstance(v, Mapping) else v for name, v in named.items()}
        return {name: text for name, text in texts.items() if isinstance(text, str)}


def _settings(file: Path) -> Mapping[str, Any]:
    try:
        settings: Mapping[str, Any] = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise NoBaseError(f"base.model: {file} is not JSON ({error}); fetch the base again") from None
    return settings


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    """As templates expect it: jinja2's own escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _refuse(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)
