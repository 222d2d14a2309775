"""What of a run may leave the house: no path of a machine, no name of one or of who works there. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nonet.report.facts import Facts
from nonet.report.timeline import Span
from nonet.runs.attempt import Attempt
from nonet.runs.plan import Plan

_PATH = re.compile(r"""(?<![\w.~:/<-])(?:file://)?(?:~|(?:/[^\s/'"<>{}\[\],#|;]+))(?:/[^\s/'"<>{}\[\],#|;]+)+/?""")
_LOGIN = re.compile(r"(?<=://)[^\s/@]+@")


def public_text(text: str) -> str:
    """`text` with every absolute path cut to its last component, and logins taken out of addresses."""
    return _LOGIN.sub("", _PATH.sub(lambda found: found[0].rstrip("/").rpartition("/")[2], text))


def public_json(value: Any) -> Any:
    """A JSON value with `public_text` in place of every text."""
    if isinstance(value, str):
        return public_text(value)
    if isinstance(value, Mapping):
        return {name: public_json(held) for name, held in value.items()}
    if isinstance(value, Sequence):
        return [public_json(held) for held in value]
    return value


def public_plan(plan: Plan) -> Plan:
    """`plan` with its bases by name or folder name, and nowhere on a disk."""
    bases = tuple(
        replace(base, model=replace(base.model, model=public_text(base.model.model), path="")) for base in plan.bases
    )
    return replace(plan, bases=bases)


def public_facts(facts: Facts) -> Facts:
    """`facts` for a report that others read: workers are numbered."""
    names: dict[str, str] = {}
    for span in facts.spans:
        names.setdefault(span.attempt.worker, f"worker {len(names) + 1}")
    spans = tuple(replace(span, attempt=_public_attempt(span, names)) for span in facts.spans)
    return replace(facts, plan=public_plan(facts.plan), batch=public_text(facts.batch), spans=spans)


def _public_attempt(span: Span, names: Mapping[str, str]) -> Attempt:
    found = span.attempt
    error = None if found.error is None else public_text(found.error)
    for hidden, shown in ((found.worker, names[found.worker]), (found.host, "its host")):
        error = error.replace(hidden, shown) if error and hidden else error
    return replace(found, host="", worker=names[found.worker], error=error, log="")
