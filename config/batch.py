"""The batch: what a person queues, checked as a whole.

Knows the record that the rest of the system plans from, and how a batch file becomes one. The keys' types
are in `config.batch_schema`, the rules between keys and files in `config.batch_check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from config.batch_adapters import ImportSpec
from config.batch_check import Check
from config.batch_defect import refuse_keys
from config.batch_schema import (
    AUTO,
    AnsweringEntry,
    BaseEntry,
    BatchFile,
    InferenceEntry,
    PromptEntry,
    TrainingEntry,
    VoteEntry,
)
from config.batch_yaml import Document, parse
from nonet.adapters.recipe import Recipe
from nonet.questions.defect import Defect, DefectsError
from nonet.questions.mix import Example, Mix, Source
from nonet.questions.problem import Problem
from nonet.questions.prompt import Answer, Prompt
from nonet.voting.vote import VoteSpec

MAX_TOKENS = 1024
SAMPLED = 0.7
"""Temperature where several samples are asked for and none is given."""
Section = TypeVar("Section", TrainingEntry, InferenceEntry)


@dataclass(frozen=True, slots=True)
class InferenceSpec:
    """How the test is answered; `shard_size` in problems (None: by tokens), `max_tokens` of a free text (1 for
    letters); each question in so many `permutations` of its options; `stack` None: the one that a worker is set to;
    whether it is to `stop_when_decided` (nonet.voting.decided). Of texts so many `samples` at a `temperature`, within a
    `token_budget` a question (nonet.engines.Reply)."""

    engine: Literal["auto", "transformers", "vllm"]
    shard_size: int | None
    answer: Answer
    max_tokens: int
    permutations: int = 1
    stack: str | None = None
    stop_when_decided: bool = False
    samples: int = 1
    temperature: float = 0.0
    token_budget: int | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """A base, how adapters are trained over it and asked: a Hub name with its revision (None: the newest), or an
    absolute folder where `local`. `name` is "" where the file has `base`; `dtype` None: what the engine chooses."""

    name: str
    model: str
    revision: str | None
    local: bool
    recipe: Recipe
    inference: InferenceSpec
    train_stack: str | None = None
    dtype: str | None = None
    trainer: Literal["peft", "joint"] = "peft"

    @property
    def key(self) -> str:
        """The key of the batch file that names it."""
        return f"bases.{self.name}" if self.name else "base"


@dataclass(frozen=True, slots=True)
class MixDraw:
    """A mix, its examples, and the stems that it shares with the test (() unless the mix allows leaks)."""

    mix: Mix
    examples: tuple[Example, ...]
    leaked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """A sound batch file with the data that it names; `text` is the file itself.

    `problems` holds each source's rows as they are, validation included; `validation` is () where the file
    sets none aside. `bases`, `mixes` and `imports` keep the file's order.
    """

    name: str
    path: Path
    bases: tuple[Base, ...]
    prompt: Prompt
    sources: dict[str, Source]
    problems: dict[str, tuple[Problem, ...]]
    test: tuple[Problem, ...]
    validation: tuple[Problem, ...]
    mixes: dict[str, MixDraw]
    imports: tuple[ImportSpec, ...]
    vote: VoteSpec
    submission: str
    text: str


def load_batch(path: Path) -> Batch:
    """Read a batch file and everything that it names.

    Raises DefectsError with all defects of the file and of the rows that it names, those of the batch file
    first and in its order. Only where the file is not YAML at all are these the only ones.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        defect = Defect(str(path), "the file", "", f"cannot be read: {reason}", "Give the path of a batch file.")
        raise DefectsError([defect]) from error
    document = parse(str(path), data)
    parsed = _batch_file(document)
    check = Check(document, path.absolute().parent)
    if isinstance(document.value, dict):
        check.run()
    defects = (*sorted(document.defects, key=_line), *check.row_defects())
    if defects or parsed is None:
        raise DefectsError(defects)
    return _batch(path, data.decode("utf-8-sig"), parsed, check)


def _line(defect: Defect) -> int:
    digits = defect.place.removeprefix("line ").partition(",")[0]
    return int(digits) if digits.isdecimal() else 0


def _batch_file(document: Document) -> BatchFile | None:
    if not isinstance(document.value, dict):
        if not document.defects:
            remedy = "Write 'key: value' lines (a half-width colon and a space): name, base, sources, mixes, …"
            document.refuse((), "", "the file holds no keys", remedy)
        return None
    try:
        return BatchFile.model_validate(document.value)
    except ValidationError as error:
        refuse_keys(document, error)
        return None


def _batch(path: Path, text: str, parsed: BatchFile, check: Check) -> Batch:
    mixes = {
        name: MixDraw(mix, check.examples[name], tuple(leak.stem for leak in check.leaked[name]))
        for name, mix in check.mixes.items()
    }
    return Batch(
        name=parsed.name,
        path=path,
        bases=tuple(_bases(parsed, check)),
        prompt=_prompt(parsed.prompt, parsed.inference),
        sources=check.sources,
        problems={name: check.problems_of(name) for name in check.sources},
        test=check.test,
        validation=check.validation,
        mixes=mixes,
        imports=check.imports,
        vote=_vote(parsed.vote),
        submission=parsed.submission,
        text=text,
    )


def _prompt(entry: PromptEntry, inference: InferenceEntry) -> Prompt:
    return Prompt(entry.system, entry.prefix, inference.answer)


def _bases(parsed: BatchFile, check: Check) -> Iterator[Base]:
    if parsed.base is not None:
        yield _base("", parsed.base, parsed.training, parsed.inference, check)
    for name, entry in (parsed.bases or {}).items():
        training = _overlaid(parsed.training, entry.training)
        yield _base(name, entry, training, _overlaid(parsed.inference, entry.inference), check)


def _overlaid(shared: Section, own: AnsweringEntry | TrainingEntry) -> Section:
    """A section with what a base sets of its own."""
    return shared.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


def _base(name: str, entry: BaseEntry, training: TrainingEntry, inference: InferenceEntry, check: Check) -> Base:
    model, local = check.base_model(entry.model)
    recipe, spec = _recipe(training), _inference(inference)
    return Base(name, model, entry.revision, local, recipe, spec, training.stack, entry.dtype, training.trainer)


def _recipe(entry: TrainingEntry) -> Recipe:
    values: dict[str, Any] = entry.model_dump(exclude={"stack", "trainer"})
    floats = {name: float(values[name]) for name in ("dropout", "learning_rate")}
    return Recipe(**{**values, **floats, "targets": tuple(entry.targets)})


def _inference(entry: InferenceEntry) -> InferenceSpec:
    tokens = 1 if entry.answer == "letter" else entry.max_tokens or MAX_TOKENS
    return InferenceSpec(
        engine=entry.engine,
        shard_size=None if entry.shard_size == AUTO else entry.shard_size,
        answer=entry.answer,
        max_tokens=tokens,
        permutations=entry.permutations,
        stack=entry.stack,
        stop_when_decided=entry.stop_when_decided,
        samples=entry.samples,
        temperature=float(SAMPLED if entry.temperature is None and entry.samples > 1 else entry.temperature or 0),
        token_budget=entry.token_budget,
    )


def _vote(entry: VoteEntry) -> VoteSpec:
    select = tuple(entry.select) if isinstance(entry.select, list) else entry.select
    weights = entry.weights or "log-odds"
    return VoteSpec(entry.method, entry.members, select, entry.allow_partial, entry.quorum, weights)
