"""Orders: what a compute process is asked to do, as records. Knows their fields; carries nothing out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nonet.adapters.recipe import Recipe
from nonet.bases.base import DTYPES
from nonet.engines import Adapter
from nonet.questions.prompt import Prompt


class OrderError(ValueError):
    """A line that is no order; `order` is its id where it has one."""

    def __init__(self, order: str | None, message: str) -> None:
        super().__init__(message)
        self.order = order


@dataclass(frozen=True, slots=True)
class AdapterOrder:
    """An adapter to be trained on the file `examples`, into the empty folder `out`; `checkpoint` is a folder, too."""

    name: str
    examples: str
    checkpoint: str
    out: str


@dataclass(frozen=True, slots=True)
class TrainOrder:
    """Train an `adapter` over the base in `base`."""

    id: str
    base: str
    adapter: AdapterOrder
    prompt: Prompt
    recipe: Recipe
    threads: int | None
    device: str
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class JointOrder:
    """Train `adapters` together over the base in `base`, all by one recipe; events name the adapter they are about."""

    id: str
    base: str
    adapters: tuple[AdapterOrder, ...]
    prompt: Prompt
    recipe: Recipe
    threads: int | None
    device: str
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class StopRule:
    """Who votes, as (name, weight) by merit, and the letters that are known of the shard's questions, by member and
    question: what is decided is not asked any more (nonet.voting.decided).
    """

    voters: tuple[tuple[str, float], ...]
    cast: Mapping[str, Mapping[str, tuple[str | None, ...]]]


@dataclass(frozen=True, slots=True)
class InferOrder:
    """Answer the rows `start` to `stop` (exclusive) of the file `problems` with each of `adapters`, every question in
    so many `permutations` of its options, or as text with so many `samples` at `temperature` and a `token_budget` a
    question; with a rule in `decide`, only until it is decided.
    """

    id: str
    base: str
    adapters: tuple[Adapter, ...]
    problems: str
    start: int
    stop: int
    prompt: Prompt
    engine: Literal["transformers", "vllm"]
    max_length: int
    max_tokens: int
    permutations: int
    max_loras: int
    rank: int
    threads: int | None
    device: str
    dtype: str | None = None
    samples: int = 1
    temperature: float = 0.0
    token_budget: int | None = None
    decide: StopRule | None = None


Order = TrainOrder | JointOrder | InferOrder


def read_order(line: str) -> Order:
    """The order in a line; raises OrderError."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise OrderError(None, f"not JSON: {line[:80]!r} ({error})") from None
    if not isinstance(row, dict):
        raise OrderError(None, f"an order is an object, not {line[:80]!r}")
    order = row.get("id")
    if not isinstance(order, str):
        raise OrderError(None, f"an order's id is a text, not {order!r}")
    try:
        return _record(row)
    except KeyError as error:
        raise OrderError(order, f"order {order}: the field {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise OrderError(order, f"order {order}: {error}") from None


def _record(row: Mapping[str, Any]) -> Order:
    match row["op"]:
        case "train":
            return TrainOrder(**_training(row), adapter=_adapter(row, row["id"]))
        case "train_jointly":
            adapters = tuple(_adapter(one, _text(one, "name")) for one in row["adapters"])
            return JointOrder(**_training(row), adapters=adapters)
        case "infer":
            return InferOrder(
                id=row["id"],
                base=_text(row, "base"),
                adapters=tuple(Adapter(_text(one, "name"), _text(one, "path")) for one in row["adapters"]),
                problems=_text(row, "problems"),
                start=_number(row, "start"),
                stop=_number(row, "stop"),
                prompt=Prompt.from_json(row["prompt"]),
                engine=_engine(row),
                max_length=_number(row, "max_length"),
                max_tokens=_number(row, "max_tokens"),
                permutations=_permutations(row),
                max_loras=_number(row, "max_loras"),
                rank=_number(row, "rank"),
                threads=_threads(row),
                device=_text(row, "device"),
                dtype=_dtype(row),
                samples=_samples(row),
                temperature=_temperature(row),
                token_budget=_number(row, "token_budget") if row.get("token_budget") is not None else None,
                decide=_stop_rule(row),
            )
        case op:
            raise ValueError(f"op is train, train_jointly, infer or drain, not {op!r}")


def _training(row: Mapping[str, Any]) -> dict[str, Any]:
    """What every order to train says."""
    return {
        "id": row["id"],
        "base": _text(row, "base"),
        "prompt": Prompt.from_json(row["prompt"]),
        "recipe": Recipe.from_json(row["recipe"]),
        "threads": _threads(row),
        "device": _text(row, "device"),
        "dtype": _dtype(row),
    }


def _adapter(row: Mapping[str, Any], name: str) -> AdapterOrder:
    return AdapterOrder(name, _text(row, "examples"), _text(row, "checkpoint"), _text(row, "out"))


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is a text, not {value!r}")
    return value


def _number(row: Mapping[str, Any], name: str) -> int:
    value = row[name]
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is a whole number from 0, not {value!r}")
    return value


def _permutations(row: Mapping[str, Any]) -> int:
    permutations = _number(row, "permutations")
    if permutations < 1 or (permutations > 1 and row["prompt"]["answer"] != "letter"):
        raise ValueError(f"permutations is 1, or more with answer: letter, not {permutations}")
    return permutations


def _threads(row: Mapping[str, Any]) -> int | None:
    if row.get("threads") is None:
        return None
    threads = _number(row, "threads")
    if threads < 1:
        raise ValueError(f"threads is 1 or more, not {threads}")
    return threads


def _dtype(row: Mapping[str, Any]) -> str | None:
    value = row.get("dtype")
    if value not in (None, *DTYPES):
        raise ValueError(f"dtype is {', '.join(DTYPES)} or nothing, not {value!r}")
    return None if value is None else str(value)


def _samples(row: Mapping[str, Any]) -> int:
    samples = row.get("samples", 1)
    if type(samples) is not int or samples < 1 or (samples > 1 and row["prompt"]["answer"] != "text"):
        raise ValueError(f"samples is 1, or more with answer: text, not {samples!r}")
    return samples


def _temperature(row: Mapping[str, Any]) -> float:
    temperature = row.get("temperature", 0.0)
    if type(temperature) not in (int, float) or not 0 <= temperature <= 10:
        raise ValueError(f"temperature is a number from 0 to 10, not {temperature!r}")
    return float(temperature)


def _stop_rule(row: Mapping[str, Any]) -> StopRule | None:
    rule = row.get("decide")
    if rule is None:
        return None
    voters = tuple((_text({"name": name}, "name"), float(weight)) for name, weight in rule["voters"])
    cast = {name: {q: tuple(letters) for q, letters in own.items()} for name, own in rule["cast"].items()}
    return StopRule(voters, cast)


def _engine(row: Mapping[str, Any]) -> Literal["transformers", "vllm"]:
    if row["engine"] == "transformers":
        return "transformers"
    if row["engine"] == "vllm":
        return "vllm"
    raise ValueError(f"engine is transformers or vllm, not {row['engine']!r}")
