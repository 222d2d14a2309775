"""Which messages a worker lets Celery see."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from tasks.message import flaw

HONEST: dict[str, Any] = {
    "body": base64.b64encode(json.dumps([[], {"run": "r", "keys": ["k"]}, {"chain": None}]).encode()).decode(),
    "content-encoding": "utf-8",
    "content-type": "application/json",
    "headers": {"id": "i", "task": "nonet.train", "eta": None, "timelimit": [None, None], "stamps": {}, "retries": 0},
    "properties": {
        "correlation_id": "i",
        "delivery_tag": "t",
        "priority": 0,
        "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": "train"},
    },
}


def body(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def test_an_honest_message_passes_and_may_hold_more_headers() -> None:
    assert flaw(HONEST) is None
    assert flaw({**HONEST, "headers": {**HONEST["headers"], "later": "x"}}) is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("headers",), None),
        (("properties",), []),
        (("content-type",), "application/x-python-serialize"),
        (("content-encoding",), "base64"),
        (("headers", "id"), ["x"]),
        (("headers", "task"), "celery.chord_unlock"),
        (("headers", "task"), 3),
        (("headers", "eta"), "2024-01-01"),
        (("headers", "retries"), True),
        (("headers", "timelimit"), [1, 1]),
        (("headers", "compression"), "gzip"),
        (("properties", "delivery_tag"), {}),
        (("properties", "delivery_info"), {"exchange": ""}),
        (("properties", "body_encoding"), "none"),
        (("body",), "!"),
        (("body",), None),
        (("body",), body([[1], {}, {}])),
        (("body",), body([[], [], {}])),
        (("body",), body([[], {}, {"callbacks": [{"task": "nonet.train"}]}])),
        (("body",), body([[], {}])),
    ],
)
def test_one_wrong_field_is_a_flaw(place: tuple[str, ...], value: object) -> None:
    message = copy.deepcopy(HONEST)
    holder = message
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value
    assert flaw(message)


@pytest.mark.parametrize("message", [None, 1, "x", [], {}])
def test_what_is_no_message_is_a_flaw(message: object) -> None:
    assert flaw(message)


@pytest.mark.parametrize("name", ["id", "task"])
def test_required_headers(name: str) -> None:
    headers = {key: value for key, value in HONEST["headers"].items() if key != name}
    assert flaw({**HONEST, "headers": headers}) == f"{name} is missing"
