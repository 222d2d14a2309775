"""The JSON Schema for editors: it says what the loader enforces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from config.batch_schema import BatchFile, Entry, UseEntry, json_schema

BATCHES = sorted((Path(__file__).resolve().parents[2] / "config" / "batches").glob("*.yaml"))


def objects(schema: object) -> list[dict[str, Any]]:
    """Every schema of an object with named properties."""
    found: list[dict[str, Any]] = []
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            found.append(schema)
        for value in schema.values():
            found.extend(objects(value))
    elif isinstance(schema, list):
        for value in schema:
            found.extend(objects(value))
    return found


def test_it_is_json_and_names_every_section() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["properties"]) == set(BatchFile.model_fields)
    assert set(schema["required"]) == {"name", "inference"}
    assert schema["anyOf"] == [{"required": ["mixes", "sources"]}, {"required": ["adapters"]}]
    assert schema["oneOf"] == [{"required": ["base"]}, {"required": ["bases"]}]


def test_no_object_takes_unknown_keys() -> None:
    found = objects(json_schema())
    assert len(found) >= 9
    assert all(schema["additionalProperties"] is False for schema in found)


def test_every_key_is_described() -> None:
    def models(model: type[BaseModel]) -> list[type[BaseModel]]:
        return [model, *(below for child in model.__subclasses__() for below in models(child))]

    for model in models(Entry)[1:]:
        assert model.__doc__
        if model is not BatchFile:
            assert all(field.description for field in model.model_fields.values()), model


def test_a_use_is_a_name_or_a_mapping_as_in_its_model() -> None:
    use = json_schema()["$defs"]["MixEntry"]["properties"]["use"]["items"]["anyOf"]
    assert use[0]["type"] == "string"
    assert set(use[1]["properties"]) == set(UseEntry.model_fields)


@pytest.mark.parametrize("path", BATCHES, ids=[path.stem for path in BATCHES])
def test_the_shipped_batches_fit(path: Path) -> None:
    BatchFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_the_competition_is_shipped() -> None:
    assert "competition-2024" in [path.stem for path in BATCHES]
