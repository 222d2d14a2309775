"""MkDocs hook: the reference is made from the code when the site is built, so that it cannot say anything else.

The batch file's keys from its schema, the settings from their classes, every command's help, the metrics as they are
served, exit codes and the classes of failed attempts.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
Row = tuple[str, ...]


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of the reference that are made from the code."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    made = {
        "batch-file": batch_file(),
        "settings": settings(),
        "command": command(),
        "metrics": metrics(),
        "errors": errors(),
    }
    for name, lines in made.items():
        files.append(File.generated(config, f"reference/{name}.md", content="\n".join(lines) + "\n"))
    return files


def _table(heads: Row, rows: Iterator[Row]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in row)} |"
    yield ""


def batch_file() -> Iterator[str]:
    """The sections of the batch file, key by key."""
    from config.batch_schema import json_schema

    schema = json_schema()
    parts: dict[str, Any] = schema["$defs"]
    yield "# The batch file"
    yield ""
    yield "YAML, strict: an unknown key is refused, and so is a value of another type. `nonet schema` prints this as"
    yield "JSON Schema for editors, `nonet init` writes a file to begin with. Paths start from the batch file's folder."
    yield ""
    yield "## The file"
    yield from _keys(schema)
    for name, part in parts.items():
        yield f"## {name.removesuffix('Entry')}"
        yield ""
        yield str(part.get("description", ""))
        yield from _keys(part)


def _keys(part: dict[str, Any]) -> Iterator[str]:
    required = part.get("required", [])

    def rows() -> Iterator[Row]:
        for key, told in part["properties"].items():
            default = "required" if key in required else f"`{_value(told.get('default'))}`" if "default" in told else ""
            yield f"`{key}`", _kind(told), default, str(told.get("description", ""))

    yield from _table(("key", "value", "default", "meaning"), rows())


def _value(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _kind(told: dict[str, Any]) -> str:
    """What a key takes, in words."""
    if "$ref" in told:
        name = told["$ref"].rpartition("/")[2].removesuffix("Entry")
        return f"[{name}](#{name.lower()})"
    if "enum" in told:
        return ", ".join(f"`{value}`" for value in told["enum"])
    if "const" in told:
        return f"`{told['const']}`"
    if "anyOf" in told:
        return " or ".join(dict.fromkeys(_kind(part) for part in told["anyOf"]))
    kind = told.get("type", "anything")
    if kind == "array":
        return f"a list of {_kind(told.get('items', {}))}"
    named = told.get("patternProperties") or {}
    if kind == "object" and named:
        return f"{_kind(next(iter(named.values())))}, by name"
    words = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "null": "null",
    }
    limits = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    bounds = [f"{word} {told[name]}" for name, word in limits.items() if name in told]
    return ", ".join([words.get(kind, kind), *bounds])


def settings() -> Iterator[str]:
    """The environment variables of every process."""
    from config.flower_login import FlowerSettings
    from config.settings import Settings

    yield "# Settings"
    yield ""
    yield "Each is a variable in the environment of the process that it is for. `nonet --home` overrides NONET_HOME."
    for title, kind in (("Every process", Settings), ("Flower", FlowerSettings)):
        yield ""
        yield f"## {title}"
        prefix = str(kind.model_config["env_prefix"])
        yield from _table(("variable", "default", "meaning"), _settings(kind, prefix))


def _settings(kind: Any, prefix: str) -> Iterator[Row]:
    for name, field in kind.model_fields.items():
        made = field.default_factory is not None
        default = "" if field.default is None or made else str(getattr(field.default, "value", field.default))
        yield f"`{prefix}{name.upper()}`", f"`{default}`" if default else "", str(field.description or "")


def command() -> Iterator[str]:
    """The help of every command, as it is printed."""
    from cli.main import nonet_command

    yield "# The command"
    yield ""
    yield "What `nonet COMMAND --help` prints."
    yield from _help(nonet_command, click.Context(nonet_command, info_name="nonet", max_content_width=100))


def _help(found: click.Command, context: click.Context) -> Iterator[str]:
    yield ""
    yield f"## {context.command_path}"
    yield ""
    yield "```text"
    yield found.get_help(context)
    yield "```"
    if isinstance(found, click.Group):
        for name in found.list_commands(context):
            below = found.get_command(context, name)
            assert below is not None, name
            yield from _help(below, click.Context(below, parent=context, info_name=name, max_content_width=100))


def metrics() -> Iterator[str]:
    """The families that `nonet metrics` serves."""
    from scheduler.metrics import Reading, families

    found = list(families(Reading()))
    yield "# Metrics"
    yield ""
    yield "What `nonet metrics` serves at `/metrics`, for Prometheus: [operations](../operations.md#metrics)."

    def rows() -> Iterator[Row]:
        for family in found:
            total = "_total" if family.type == "counter" else ""
            labels = ", ".join(f"`{label}`" for label in getattr(family, "_labelnames", ()))
            yield f"`{family.name}{total}`", family.type, labels, family.documentation

    yield from _table(("metric", "type", "labels", "meaning"), rows())


def errors() -> Iterator[str]:
    """Exit codes, and what a failed attempt is classed as."""
    from cli.exit_codes import MEANINGS
    from nonet.runs.attempt import ErrorClass, Outcome
    from nonet.runs.policy import judge

    yield "# Errors and exit codes"
    yield ""
    yield "## Exit codes"
    yield from _table(("code", "meaning"), ((str(code.value), text) for code, text in MEANINGS.items()))
    yield "## Attempts"
    yield ""
    yield f"How an attempt ends: {', '.join(f'`{outcome.value}`' for outcome in Outcome)}. One that failed has a class,"
    yield f"by which it is tried again or not: {', '.join(f'`{error.value}`' for error in ErrorClass)}."
    yield ""
    yield inspect.cleandoc(judge.__doc__ or "").partition("\n\n")[2]
    yield ""
    yield "`NONET_FAILURE_LIMIT` is the limit. `nonet status` shows the last error of each, `nonet logs` its log."
