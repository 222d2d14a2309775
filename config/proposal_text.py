"""A proposed batch as a commented batch file. Knows YAML and what each section is for; decides nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.proposal import FRACTION, Proposal, ProposedSource
from nonet.adapters.recipe import Recipe
from nonet.questions.mix import Mix

_PLAIN = re.compile(r"[A-Za-z_./][\w./@-]*")
_RESERVED = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_STEP = 64
_LONG = 1024


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of the prompts with their letters, ascending, and the most that one needs without its stem."""

    prompts: tuple[int, ...]
    bare: int

    @property
    def max_length(self) -> int:
        """Room for every prompt where that is not more than 1024 tokens; else for 99 % of them, and never less than a
        question needs without its stem."""
        longest = self.prompts[-1]
        wanted = longest if longest <= _LONG else max(_LONG, self.prompts[int(0.99 * (len(self.prompts) - 1))])
        return -(-max(wanted, self.bare) // _STEP) * _STEP

    @property
    def cut(self) -> int:
        """Prompts whose stems are cut at `max_length`."""
        return sum(length > self.max_length for length in self.prompts)


def batch_text(name: str, base: str, proposal: Proposal, lengths: Lengths | None, folder: Path) -> str:
    """The batch file, to lie in `folder`, from which its paths start; `base` is a folder or a hub id, as written."""
    return "\n".join(
        [*_head(name, base), *_data(proposal, folder), *_mixes(proposal), *_rest(proposal, lengths, folder)]
    )


def _head(name: str, base: str) -> Iterator[str]:
    yield "# Written by `nonet init`: a proposal to change as you like. `nonet plan` says what it comes to, `nonet"
    yield "# submit` queues it, `nonet schema` prints every key there is."
    yield f"name: {quoted(name)} # runs are named after it"
    yield ""
    yield "# The frozen model under all adapters: a folder (./path), or owner/name of a hub."
    yield "base:"
    yield f"  model: {quoted(base)}"
    yield ""


def _data(proposal: Proposal, folder: Path) -> Iterator[str]:
    yield "# Labelled files. `labels` says who answered: gold, human, model, or pseudo (an earlier vote of Nonet)."
    yield "sources:"
    for source in proposal.sources:
        yield f"  {quoted(source.name)}:"
        yield f"    path: {written(source.path, folder)} # {_count(source)}"
        yield f"    labels: {source.labels}{_why(source)}"
    for path, stems in proposal.leaking:
        yield f"  # Left out: {written(path, folder)} shares {stems} stems with the test. A mix with them is refused,"
        yield "  # unless it says allow_leak: true."
    yield ""
    if proposal.validation is None:
        yield "# No file with gold labels and two different stems: nothing is held out, so members cannot be measured."
    else:
        yield "# Held out of every mix, whole stems at a time: what members are measured on."
        yield f"validation: {{source: {quoted(proposal.validation)}, fraction: {FRACTION}, seed: 0}}"
    yield ""


def _count(source: ProposedSource) -> str:
    return f"{source.questions:,} questions in {source.problems:,} problems"


def _why(source: ProposedSource) -> str:
    like = f"another labelling of {source.like}" if source.like else ""
    guess = "a guess from the file's name: say who answered" if source.guessed else ""
    told = "; ".join(filter(None, [like, guess]))
    return f" # {told}" if told else ""


def _mixes(proposal: Proposal) -> Iterator[str]:
    yield "# One adapter for each mix. Members that were trained on different data err differently, and the vote gains."
    yield "# {source: NAME, first: 100} takes the first rows only; min_margin: 0.5 clearly decided pseudo-labels only."
    yield "mixes:"
    for mix in proposal.mixes:
        yield f"  {quoted(mix.name)}: {_mix(mix)}"
    yield ""


def _mix(mix: Mix) -> str:
    uses = ", ".join(quoted(use.source) for use in mix.uses)
    sample = "" if mix.sample is None else f", sample: {mix.sample}, seed: {mix.seed}"
    return f"{{use: [{uses}]{sample}}}"


def _rest(proposal: Proposal, lengths: Lengths | None, folder: Path) -> Iterator[str]:
    recipe = Recipe()
    yield "training:"
    yield f"  rank: {recipe.rank}"
    yield f"  alpha: {recipe.alpha}"
    if lengths is None:
        yield f"  max_length: {recipe.max_length} # tokens; not measured, the base is not here yet: `nonet plan` counts"
    else:
        longest, cut = lengths.prompts[-1], lengths.cut
        told = f"{cut} of {len(lengths.prompts):,} lose the tail of their stem" if cut else "none is cut"
        yield f"  max_length: {lengths.max_length} # tokens; the longest prompt has {longest}, {told}"
    yield f"  learning_rate: {_number(recipe.learning_rate)} # with the point: YAML takes 1e-4 as text"
    yield f"  epochs: {recipe.epochs}"
    yield f"  batch_size: {recipe.batch_size}"
    yield f"  seed: {recipe.seed}"
    yield ""
    yield f"# {proposal.questions:,} questions. Nothing of the test is trained on."
    yield "inference:"
    yield f"  test: {written(proposal.test, folder)}"
    for path in proposal.others:
        yield f"  # Has no answers either: {written(path, folder)}"
    for path in proposal.gold:
        yield f"  # Its answers, for afterwards: nonet score latest {_shell(path)}"
    yield "  engine: auto"
    yield "  shard_size: 100 # problems: what one task answers"
    yield ""
    yield "# All members, one vote each. `nonet vote --compare` shows afterwards what other ways of voting give."
    yield "vote: {method: majority, select: all}"
    yield ""
    yield "submission: submission.jsonl"
    yield ""


def _number(value: float) -> str:
    """1.0e-4: YAML reads a number with an exponent only where there is a point."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _shell(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False) if " " in str(path) else str(path)


def written(path: Path, folder: Path) -> str:
    """A path as the batch file in `folder` names it: relative where that is no longer than absolute."""
    relative, absolute = os.path.relpath(path, folder), os.path.abspath(path)
    return quoted(relative if len(relative) <= len(absolute) else absolute)


def quoted(text: str) -> str:
    """A text as YAML, in quotes where it would be read otherwise."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED else json.dumps(text, ensure_ascii=False)
