"""Refusals of the batch file's keys, told as defects.

Knows how pydantic's errors read to a person who has never heard of pydantic. Knows no rule of its own.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.batch_schema import BatchFile
from config.batch_yaml import Document, KeyPath

_LIMITS = {
    "greater_than": ("gt", "must be above {}"),
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than": ("lt", "must be below {}"),
    "less_than_equal": ("le", "must be at most {}"),
}
NAMED = ("sources", "mixes", "bases", "adapters")
"""Sections that hold entries by name."""
_NEVER = dict.fromkeys(
    ("merge", "merged", "merge_lora", "merge_adapter", "merge_adapters"),
    "Remove it: adapters are never merged into a base. Over a 4-bit base (GPTQ, AWQ) the sum would have to be "
    "quantised again, and would be another model than the one that was trained and measured; adapters are worn as they "
    "are, many over one base.",
)
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def nearest(word: str, known: Iterable[str]) -> str:
    """'Did you mean …? ' where one of `known` is close to `word`; else ''."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {close[0]!r}? " if close else ""


def refuse_keys(document: Document, error: ValidationError) -> None:
    """Note a defect in `document` for each error of validating its value as a `BatchFile`."""
    for detail in error.errors(include_url=False):
        loc: KeyPath = tuple(detail["loc"])
        if loc and loc[-1] == "[key]":
            loc = loc[:-1]
            remedy = "Use letters, digits, '.', '_' and '-', at most 64, the first a letter or digit."
            document.refuse(loc, repr(loc[-1]), "not a plain name", remedy)
            continue
        if loc in document.unread:
            continue
        message, remedy = _told(loc, detail)
        document.refuse(loc, _found(document, loc, detail), message, remedy)


def _found(document: Document, loc: KeyPath, detail: ErrorDetails) -> str:
    """What stands at the place of an error, in one line."""
    value = detail["input"]
    if detail["type"] == "missing" or value is None:
        return ""
    if detail["type"] != "value_error" and isinstance(value, dict | list):
        noun = "list" if isinstance(value, list) else "mapping"
        return f"a {noun} of {len(value)}" if value else f"an empty {noun}"
    return document.as_written(loc, value)


def _told(loc: KeyPath, detail: ErrorDetails) -> tuple[str, str]:
    """Message and remedy of one error."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    meaning = _meaning(loc)
    if kind == "extra_forbidden":
        if loc[-1] in _NEVER:
            return "unknown key", _NEVER[str(loc[-1])]
        known = sorted(_model_at(loc[:-1]).model_fields)
        return "unknown key", f"{nearest(str(loc[-1]), known)}Known here: {', '.join(known)}."
    if kind == "missing":
        return "the key is missing", f"Add it{meaning}."
    if kind in _TYPES:
        if value is None:
            return f"must be {_TYPES[kind]}, but nothing is there", f"Write a value{meaning}."
        return f"must be {_TYPES[kind]}", _type_remedy(kind, value, meaning)
    if kind in _LIMITS:
        name, message = _LIMITS[kind]
        return message.format(context[name]), f"Write another value{meaning}."
    if kind == "finite_number":
        return "must be a finite number", f"Write another value{meaning}."
    if kind == "literal_error":
        expected = str(context["expected"])
        choices = expected.replace("'", "").replace(" or ", ", ").split(", ")
        return f"must be {expected}", f"{nearest(str(value), choices)}Write one of them."
    if kind == "too_short":
        empty_mix = len(loc) == 3 and loc[0] == "mixes"
        return ("the mix is empty" if empty_mix else "must not be empty"), f"Give at least one{meaning}."
    if kind == "string_too_short":
        return "must not be empty", f"Write a value{meaning}."
    if kind == "string_pattern_mismatch":
        remedy = "Use letters, digits, '.', '_' and '-', at most 64, the first a letter or digit (no folder)."
        return "not a plain name", remedy
    said = str(context["error"]) if "error" in context else detail["msg"]
    return said, f"Write another value{meaning}."


def _type_remedy(kind: str, value: object, meaning: str) -> str:
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "Write it in quotes."
    if kind in ("int_type", "float_type") and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return f"Write a number{meaning}."
        if not math.isfinite(number):
            return f"Write a finite number{meaning}."
        if kind == "float_type" and "e" in value.lower():
            return (
                f"Write {_yaml_float(number)}: YAML 1.1 takes {value} as text, for a number with an exponent "
                "needs a point and a sign."
            )
        return f"Write {value.strip()} without quotes."
    if kind == "int_type" and isinstance(value, float) and value.is_integer():
        return f"Write {int(value)}."
    return f"Write {_TYPES[kind]}{meaning}."


def _yaml_float(number: float) -> str:
    """A float that YAML 1.1 reads as one: 1.0e-4."""
    mantissa, _, exponent = f"{number:e}".partition("e")
    digits = mantissa.rstrip("0")
    sign, power = exponent[0], exponent[1:].lstrip("0") or "0"
    return f"{digits}0e{sign}{power}" if digits.endswith(".") else f"{digits}e{sign}{power}"


def _meaning(loc: KeyPath) -> str:
    """' (what the key is for)', from its description in the schema; '' where it has none."""
    if not loc or isinstance(loc[-1], int) or (len(loc) == 2 and loc[0] in NAMED):
        return ""
    field = _model_at(loc[:-1]).model_fields.get(str(loc[-1]))
    if field is None:
        return ""
    about = field.description or next((m.__doc__ for m in _models(field.annotation) if m.__doc__), "")
    return f" ({about.rstrip('.')})" if about else ""


def _model_at(loc: KeyPath) -> type[BaseModel]:
    """The schema's model of the mapping at a path; for names of sources, mixes and bases, the model of their
    entries.
    """
    model: type[BaseModel] = BatchFile
    for depth, part in enumerate(loc):
        if depth == 1 and loc[0] in NAMED:
            continue
        field = model.model_fields.get(str(part)) or model.model_fields.get(f"{part}_")
        below = list(_models(field.annotation)) if field is not None else []
        model = below[0] if below else model
    return model


def _models(annotation: object) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
