"""Canaries: what shows that an engine really uses an adapter. Knows records and the rule; asks no engine.

An engine that ignores an adapter answers with the base's own letters, and nothing else looks wrong. So the training
that makes an adapter asks it a few of its own questions, without the adapter and with it, and keeps both answers beside
the weights. Whoever answers with the adapter later asks the same, and must come nearer to the second than half of the
way to the first. An adapter that moves log-probabilities by hardly more than two engines' rounding is not judged.
One that has no canary, since it was trained elsewhere, is told from the base on the questions at hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CANARY = "canary.json"
QUESTIONS = 3
"""Questions of a canary: the shortest of the training, 3 of some thousand prompts an adapter."""
DIGITS = 4
"""Decimals of a log-probability."""
MEASURABLE = 0.3
"""The least mean difference (nats) between the answers with and without an adapter that is judged: twice of what the
engines may lie apart in bfloat16 (tests/integration/test_vllm.py)."""
SAME = 0.001
"""The mean difference (nats) below which two answers of one engine to the same questions count as the same: an engine
that ignores an adapter computes with it what it computes without."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question: prompt `ids`, its `letters` with the token of each, and the log-probability of each letter, without
    the adapter (`base`) and with it (`adapter`).
    """

    ids: tuple[int, ...]
    letters: str
    letter_ids: tuple[int, ...]
    base: tuple[float, ...]
    adapter: tuple[float, ...]


Canary = tuple[Probe, ...]


def canary_bytes(canary: Canary) -> bytes:
    """The file CANARY."""
    return json.dumps([asdict(probe) for probe in canary], sort_keys=True).encode() + b"\n"


def read_canary(folder: str) -> Canary:
    """The canary of the adapter in `folder`; () where it has none, as those made before there were any.

    Raises ValueError for a file that is not one.
    """
    path = Path(folder) / CANARY
    try:
        rows = json.loads(path.read_text("utf-8"))
        return tuple(_probe(row) for row in rows)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}; train the adapter again") from None


def _probe(row: Any) -> Probe:
    numbers = {name: tuple(float(value) for value in row[name]) for name in ("base", "adapter")}
    probe = Probe(tuple(map(int, row["ids"])), str(row["letters"]), tuple(map(int, row["letter_ids"])), **numbers)
    if not probe.ids or {len(probe.letter_ids), len(probe.base), len(probe.adapter)} != {len(probe.letters)}:
        raise ValueError("a question of it is incomplete")
    return probe


def effect(canary: Canary) -> float:
    """How far the adapter moves the log-probabilities of its canary, in the mean (nats); 0 without a canary."""
    return _apart([probe.base for probe in canary], [probe.adapter for probe in canary])


def ignored(canary: Canary, given: Sequence[Sequence[float]]) -> str | None:
    """Why an engine that answers `given` does not use the adapter; None where it does, or that cannot be told."""
    moved = effect(canary)
    if moved < MEASURABLE:
        return None
    to_adapter = _apart(given, [probe.adapter for probe in canary])
    if to_adapter < moved / 2:
        return None
    to_base = _apart(given, [probe.base for probe in canary])
    return (
        f"on {len(canary)} questions of its training its answers lie {to_adapter:.4f} from those that it gave "
        f"when it was trained and {to_base:.4f} from the base's own, which are {moved:.4f} apart (mean difference of "
        "log-probabilities)"
    )


def without_effect(given: Sequence[Sequence[float]], base: Sequence[Sequence[float]]) -> str | None:
    """Why an engine that answers `given` with an adapter that has no canary, and `base` without it, does not use it;
    None where it does.
    """
    apart = _apart(given, base)
    if apart >= SAME:
        return None
    return f"on {len(given)} questions its log-probabilities are the base's own ({apart:.6f} apart in the mean)"


def _apart(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
    """Mean absolute difference."""
    found = [abs(x - y) for a, b in zip(first, second, strict=True) for x, y in zip(a, b, strict=True)]
    return sum(found) / len(found) if found else 0.0
