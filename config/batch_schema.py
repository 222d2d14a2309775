"""The batch file's keys: types, ranges, defaults and what each is for.

Knows one key at a time, and the JSON Schema that an editor checks a batch file with. Opens no file and
compares no two keys: `config.batch` does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from nonet.adapters.recipe import TARGETS, Recipe
from nonet.questions.mix import Labels
from nonet.questions.problem import LETTERS
from nonet.questions.prompt import PREFIX, SYSTEM
from nonet.voting.vote import SELECTIONS, Method

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SCHEMA_URI = "https://json-schema.org/draft/2020-12/schema"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
AUTO = "auto"
_DEFAULTS = Recipe()
_FIRST = "only the first so many rows of it"
_MIN_MARGIN = "only questions whose label has at least this margin, 0 to 1"


class Entry(BaseModel):
    """A mapping of the batch file: strict types, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def sound(cls, value: object) -> Self | None:
        """The entry that `value` is, or None where the schema refuses it."""
        try:
            return cls.model_validate(value)
        except ValidationError:
            return None


class BaseEntry(Entry):
    """The frozen base model that every adapter is trained over."""

    model: Text = Field(description="Hub name (owner/name), or a folder: ./path relative to the batch file")
    revision: Text | None = Field(None, description="commit, tag or branch on the Hub; null: the newest")
    dtype: Literal["float16", "bfloat16", "float32"] | None = Field(
        None, description="numbers it computes in; null: float32 on a CPU, float16 on a GPU, in vLLM what the base says"
    )


class PromptEntry(Entry):
    """The words around each question."""

    system: str = Field(SYSTEM, description="system message")
    prefix: str = Field(PREFIX, description="opens the reply, so that the next token is the letter")


class SourceEntry(Entry):
    """A labelled file of rows."""

    path: Text = Field(description="JSON Lines file of labelled rows, relative to the batch file")
    labels: Labels = Field(description="who answered: gold, model, human, or pseudo (the vote of an earlier run)")


class ValidationEntry(Entry):
    """Problems that are set aside, whole stems at a time, and never trained on."""

    source: Text = Field(description="name of the source to split")
    fraction: float = Field(0.1, gt=0, lt=1, description="part of the source's problems, between 0 and 1")
    seed: Seed = Field(0, description="another seed sets other stems aside")


class UseEntry(Entry):
    """A source in a mix."""

    source: Text = Field(description="name of a source")
    first: int | None = Field(None, ge=1, description=_FIRST)
    min_margin: float | None = Field(None, ge=0, le=1, description=_MIN_MARGIN)


def _use(value: object) -> object:
    if isinstance(value, str):
        return {"source": value}
    if not isinstance(value, dict | UseEntry):
        raise ValueError("must be a source name, or {source: name, first: rows, min_margin: 0.5}")
    return value


_USE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "description": "name of a source: all of its rows"},
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["source"],
            "properties": {
                "source": {"type": "string", "minLength": 1, "description": "name of a source"},
                "first": {"type": "integer", "minimum": 1, "description": _FIRST},
                "min_margin": {"type": "number", "minimum": 0, "maximum": 1, "description": _MIN_MARGIN},
            },
        },
    ]
}


class MixEntry(Entry):
    """What one adapter is trained on."""

    use: list[Annotated[UseEntry, BeforeValidator(_use), WithJsonSchema(_USE_SCHEMA)]] = Field(
        min_length=1, description="source names, or {source: name, first: rows, min_margin: 0.5}"
    )
    sample: float | None = Field(None, gt=0, le=1, description="part of the mix's questions, above 0 and at most 1")
    seed: Seed = Field(0, description="another seed samples other questions")
    allow_leak: bool = Field(False, description="true: train on stems of the test knowingly")


class TrainingEntry(Entry):
    """Hyper-parameters, the same for every mix, and the stack that trains."""

    rank: int = Field(_DEFAULTS.rank, ge=1, le=512, description="rank of the LoRA matrices")
    alpha: int = Field(_DEFAULTS.alpha, ge=1, description="LoRA scale: alpha / rank")
    dropout: float = Field(_DEFAULTS.dropout, ge=0, lt=1, description="LoRA dropout, 0 or more and below 1")
    max_length: int = Field(_DEFAULTS.max_length, ge=16, description="tokens of a prompt with its letter")
    learning_rate: float = Field(_DEFAULTS.learning_rate, gt=0, lt=1, description="at the first step; falls to 0")
    epochs: int = Field(_DEFAULTS.epochs, ge=1, description="passes over a mix")
    batch_size: int = Field(_DEFAULTS.batch_size, ge=1, description="questions a step")
    targets: list[Annotated[str, StringConstraints(pattern=r"^\w+(\.\w+)*$")]] = Field(
        list(TARGETS), min_length=1, description="names of the linear modules that get an adapter"
    )
    seed: Seed = Field(_DEFAULTS.seed, description="initial weights, dropout and the order of the questions")
    checkpoint_every: int = Field(_DEFAULTS.checkpoint_every, ge=1, description="steps between two checkpoints")
    stack: Name | None = Field(None, description="stack that trains; null: the one that a worker is set to")
    trainer: Literal["peft", "joint"] = Field(
        "peft",
        description="peft: one adapter after the other; joint: the adapters of a base at once, the same adapters",
    )
    grouped: bool = Field(
        _DEFAULTS.grouped,
        description="true: a step takes batch_size stems with all their questions, not questions; makes other adapters",
    )


class AnsweringEntry(Entry):
    """What may differ from base to base in how the test is answered."""

    engine: Literal["auto", "transformers", "vllm"] = Field("auto", description="auto: what the fleet has")
    stack: Name | None = Field(None, description="stack that answers; null: the one that a worker is set to")
    max_tokens: int | None = Field(None, ge=1, description="length of a free text; only with answer: text")


class NamedBaseEntry(BaseEntry):
    """One of several bases, with what differs for it from the sections training and inference."""

    training: TrainingEntry = Field(
        default_factory=TrainingEntry, description="what differs from the section training; the rest is as there"
    )
    inference: AnsweringEntry = Field(
        default_factory=AnsweringEntry, description="what differs from the section inference; the rest is as there"
    )


def _shard_size(value: object) -> object:
    if value == AUTO:
        return value
    if type(value) is not int:
        raise ValueError("must be a number of problems, or auto")
    if value < 1:
        raise ValueError("must be at least 1, or auto")
    return value


_SHARD_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "integer", "minimum": 1}, {"const": AUTO}]}


class InferenceEntry(AnsweringEntry):
    """How the test is answered."""

    test: Text = Field(description="JSON Lines file of the test's rows, relative to the batch file")
    shard_size: Annotated[Any, PlainValidator(_shard_size), WithJsonSchema(_SHARD_SCHEMA)] = Field(
        100, description="problems a shard; auto: by tokens of prompts, 131,072 at most"
    )
    answer: Literal["letter", "text"] = Field(
        "letter", description="letter: the next token after the prefix; text: free text, then its last letter"
    )
    permutations: int = Field(
        1,
        ge=1,
        le=len(LETTERS),
        description="ask each question in so many cyclic orders of its options (at most all) and average; "
        "costs so many times the prompts; only with answer: letter",
    )
    samples: int = Field(
        1, ge=1, le=32, description="replies of each member to a question; all of them vote; only with answer: text"
    )
    temperature: float | None = Field(
        None,
        ge=0,
        le=2,
        description="how freely replies are drawn, 0: always the likeliest token; null: 0, with samples 0.7; "
        "only with answer: text",
    )
    token_budget: int | None = Field(
        None,
        ge=1,
        description="tokens that a member may write for a question with all its samples, in the mean of a shard; "
        "replies beyond it abstain. null: max_tokens each; only with answer: text",
    )
    stop_when_decided: bool = Field(
        False,
        description="true: members answer the test by merit, and none is asked what is decided without it; verdicts "
        "are the same. Only with vote: {method: majority} or weighted; the other ballots are then not known",
    )


class AdapterEntry(Entry):
    """An adapter that was trained elsewhere."""

    import_: Text = Field(
        alias="import",
        description="folder in peft's format or pack of `nonet export`, relative to the batch file; or the key that "
        "`nonet import` printed",
    )
    adapter: Text | None = Field(None, description="which adapter of a pack; null: the only one")
    base: Name | None = Field(None, description="which of several bases it is worn by")
    allow_other_base: bool = Field(False, description="true: wear it over another base than it was trained over")
    allow_leak: bool = Field(False, description="true: take it although it was trained on stems of the test")


def _select(value: object) -> object:
    if value in SELECTIONS:
        return value
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return value
    raise ValueError("must be validation, greedy, all, or a list of mix names")


_SELECT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"enum": ["validation", "greedy", "all"]},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
    ],
    "description": "which members vote: the best on validation, a greedily grown ensemble, all, or these mixes",
}


class VoteEntry(Entry):
    """How ballots become answers."""

    method: Method = Field(
        "majority",
        description="majority: most votes; weighted: votes weighed by validation; soft: mean log-probability; "
        "soft-calibrated: the same after temperature calibration on validation",
    )
    members: int | None = Field(
        None, ge=1, description="how many members vote, with select: greedy at most; null: all that select gives"
    )
    select: Annotated[Any, PlainValidator(_select), WithJsonSchema(_SELECT_SCHEMA)] = Field(
        "all", description="validation (the best members), greedy, all, or a list of mix names"
    )
    weights: Literal["log-odds", "accuracy"] | None = Field(
        None, description="of method: weighted: log-odds of the accuracy on validation (the default), or the accuracy"
    )
    allow_partial: bool = Field(False, description="true: vote although ballots are missing; needs quorum")
    quorum: int | None = Field(None, ge=1, description="fewest ballots a question; only with allow_partial")


class BatchFile(Entry):
    """A training batch of Nonet: sources, mixes, how to train, how to answer, how to vote."""

    name: Name = Field(description="name of the batch; runs are named after it")
    base: BaseEntry | None = None
    bases: dict[Name, NamedBaseEntry] | None = Field(
        None, min_length=1, description="instead of base: several by name; every mix is trained over each"
    )
    prompt: PromptEntry = Field(default_factory=PromptEntry)
    sources: dict[Name, SourceEntry] = Field(default_factory=dict, min_length=1, description="labelled files, by name")
    validation: ValidationEntry | None = None
    mixes: dict[Name, MixEntry] = Field(default_factory=dict, min_length=1, description="one adapter each, by name")
    adapters: dict[Name, AdapterEntry] = Field(
        default_factory=dict,
        min_length=1,
        description="adapters that were trained elsewhere, by name; they vote like mixes",
    )
    training: TrainingEntry = Field(default_factory=TrainingEntry)
    inference: InferenceEntry
    vote: VoteEntry = Field(default_factory=VoteEntry)
    submission: Annotated[str, StringConstraints(pattern=NAME_PATTERN)] = Field(
        "submission.jsonl", description="bare file name of the submission"
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the batch file, for editors."""
    whole = BatchFile.model_json_schema()
    members = {"anyOf": [{"required": ["mixes", "sources"]}, {"required": ["adapters"]}]}
    return {"$schema": SCHEMA_URI, **whole, "oneOf": [{"required": ["base"]}, {"required": ["bases"]}], **members}
