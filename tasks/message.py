"""What a message on one of Nonet's queues may look like. Pure; knows Celery's message protocol 2, not the transport.

Celery believes the fields of a message: one of a wrong type reaches its bookkeeping, where it can keep a worker from
ever taking another message. So everything is checked that Celery looks at, before it sees it.
Source: https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

PREFIX = "nonet."
"""Tasks that may be asked for; Celery's own, which it registers in every worker, may not."""
_NONE = type(None)
_HEADERS: Mapping[str, tuple[type, ...]] = {
    "id": (str,),
    "task": (str,),
    "lang": (str, _NONE),
    "root_id": (str, _NONE),
    "parent_id": (str, _NONE),
    "group": (_NONE,),
    "group_index": (_NONE,),
    "eta": (_NONE,),
    "expires": (_NONE,),
    "retries": (int, _NONE),
    "shadow": (str, _NONE),
    "argsrepr": (str, _NONE),
    "kwargsrepr": (str, _NONE),
    "origin": (str, _NONE),
    "ignore_result": (bool, _NONE),
    "replaced_task_nesting": (int, _NONE),
    "stamped_headers": (_NONE,),
    "compression": (_NONE,),
}
_PROPERTIES: Mapping[str, tuple[type, ...]] = {
    "correlation_id": (str,),
    "delivery_tag": (str,),
    "reply_to": (str, _NONE),
    "priority": (int, _NONE),
}
_REQUIRED = ("id", "task", "correlation_id", "delivery_tag")


def flaw(message: object) -> str | None:
    """What keeps `message` (parsed JSON) from being one of Nonet's, None when nothing does."""
    if not isinstance(message, dict):
        return "not an object"
    headers, properties = message.get("headers"), message.get("properties")
    if not isinstance(headers, dict) or not isinstance(properties, dict):
        return "no headers or no properties"
    if message.get("content-type") != "application/json" or message.get("content-encoding") != "utf-8":
        return "content other than JSON in UTF-8"
    found = _wrong(headers, _HEADERS) or _wrong(properties, _PROPERTIES)
    if found is not None:
        return found
    if not headers["task"].startswith(PREFIX):
        return f"the task {headers['task'][:80]!r} is none of Nonet's"
    if headers.get("timelimit") not in (None, [None, None]) or headers.get("stamps") not in (None, {}):
        return "time limits or stamps"
    return _wrong_delivery(properties) or _wrong_body(message.get("body"))


def _wrong(fields: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> str | None:
    for name, allowed in kinds.items():
        if name not in fields:
            if name in _REQUIRED:
                return f"{name} is missing"
        elif type(fields[name]) not in allowed:
            return f"{name} is {fields[name]!r:.80}"
    return None


def _wrong_delivery(properties: Mapping[str, Any]) -> str | None:
    info = properties.get("delivery_info")
    named = isinstance(info, dict) and all(isinstance(info.get(n), str) for n in ("exchange", "routing_key"))
    if not named or properties.get("body_encoding") != "base64":
        return "no delivery_info, or a body that is not base64"
    return None


def _wrong_body(body: object) -> str | None:
    try:
        arguments, named, embedded = json.loads(base64.b64decode(body, validate=True))  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError) as error:
        return f"its body is not (args, kwargs, embed): {error!r:.120}"
    if arguments != [] or not isinstance(named, dict):
        return "its body is not (args, kwargs, embed)"
    if not isinstance(embedded, dict) or any(embedded.values()):
        return "callbacks, a chain or a chord"
    return None
