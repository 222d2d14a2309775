"""A proposal of a batch for files of rows: which file is the test, which are sources, what is held out, which mixes.

Knows what rows and file names tell. Reads no file and writes none: `config.proposal_text` puts it into words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nonet.questions.mix import Labels, Mix, Use, content_bytes, draw
from nonet.questions.problem import Problem
from nonet.questions.split import normal_stem, split_by_stem

FRACTION = 0.1
SAMPLE = 0.8
_MOST_LEFT_OUT = 4
"""Sources up to which there is a mix without each of them."""
_LABELS: tuple[tuple[Labels, re.Pattern[str]], ...] = (
    ("human", re.compile(r"hand|human|manual|人工", re.I)),
    ("model", re.compile(r"model|gpt|llm|qwen|llama|deepseek|synth|pseudo|\d+b(?![a-z0-9])", re.I)),
)
_TEST = re.compile(r"test|测试", re.I)


class NoTestError(ValueError):
    """No file can be the test; `str()` says what to do."""


@dataclass(frozen=True, slots=True)
class ProposedSource:
    """A labelled file as a source; `guessed`: its labels are told from the file's name alone. `like` names an earlier
    source with mostly the same stems, of which this is another labelling."""

    name: str
    path: Path
    labels: Labels
    problems: int
    questions: int
    guessed: bool
    like: str | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """`gold` are the test's own answers; `others` further files without answers; `leaking` labelled files that share so
    many stems with the test, left out; `validation` the source to split, None where none can be."""

    test: Path
    questions: int
    sources: tuple[ProposedSource, ...]
    validation: str | None
    mixes: tuple[Mix, ...]
    gold: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    leaking: tuple[tuple[Path, int], ...] = ()


def propose(files: Mapping[Path, Sequence[Problem]], test: Path | None = None) -> Proposal:
    """A batch for `files`; `test` says which one is answered, None: the one without answers.

    Raises NoTestError where no file is, or several could be, the test, and where nothing is left to train on.
    """
    labelled = {
        path: all(q.gold is not None for p in problems for q in p.questions) for path, problems in files.items()
    }
    chosen = test or _test(labelled)
    asked = _stems(files[chosen])
    gold, leaking, kept = [], [], []
    for path, problems in files.items():
        if path == chosen or not labelled[path]:
            continue
        stems = _stems(problems)
        if stems & asked and stems <= asked:
            gold.append(path)
        elif stems & asked:
            leaking.append((path, len(stems & asked)))
        else:
            kept.append(path)
    if not kept:
        raise NoTestError(
            f"nothing is left to train on: {chosen} is the test, and none of the other {len(files) - 1} files has "
            "answers and stems of its own; give a labelled file"
        )
    sources = _sources({path: files[path] for path in sorted(kept, key=lambda path: _rank(path, files[path]))})
    problems_of = {source.name: files[source.path] for source in sources}
    validation = next((s.name for s in sources if s.labels == "gold" and len(_stems(problems_of[s.name])) > 1), None)
    return Proposal(
        test=chosen,
        questions=sum(len(problem.questions) for problem in files[chosen]),
        sources=sources,
        validation=validation,
        mixes=_mixes(sources, problems_of, validation),
        gold=tuple(gold),
        others=tuple(path for path in files if path != chosen and not labelled[path]),
        leaking=tuple(leaking),
    )


def _stems(problems: Sequence[Problem]) -> set[str]:
    return {normal_stem(problem.stem) for problem in problems}


def _test(labelled: Mapping[Path, bool]) -> Path:
    """The file without answers; of several, or where all have answers, the only one with "test" in its name."""
    open_files = [path for path, whole in labelled.items() if not whole]
    if len(open_files) == 1:
        return open_files[0]
    named = [path for path in open_files or labelled if _TEST.search(path.stem)]
    if len(named) == 1:
        return named[0]
    if open_files:
        raise NoTestError(
            f"several files have no answers: {', '.join(map(str, open_files))}; say which with --test FILE"
        )
    raise NoTestError(
        f"every file has answers: {', '.join(map(str, labelled))}; say with --test FILE which one is to be answered, "
        "or set a part aside: nonet data split FILE --train train.jsonl --test test.jsonl"
    )


def _labels(path: Path, problems: Sequence[Problem]) -> tuple[Labels, bool]:
    """(who answered a file, whether only its name says so)."""
    if problems and all(problem.run is not None for problem in problems):
        return "pseudo", False
    found: list[Labels] = [labels for labels, pattern in _LABELS if pattern.search(path.stem)]
    return (found[0] if found else "gold"), True


def _rank(path: Path, problems: Sequence[Problem]) -> tuple[int, int, str]:
    """Gold first, then people's labels, then models'; the larger file first."""
    order: tuple[Labels, ...] = ("gold", "human", "model", "pseudo")
    return order.index(_labels(path, problems)[0]), -len(problems), str(path)


def _sources(files: Mapping[Path, Sequence[Problem]]) -> tuple[ProposedSource, ...]:
    found: list[ProposedSource] = []
    for path, problems in files.items():
        labels, guessed = _labels(path, problems)
        taken = {source.name.casefold() for source in found}
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("._-")[:56] or "source"
        names = (plain if not at else f"{plain}-{at + 1}" for at in range(len(files)))
        name = next(name for name in names if name.casefold() not in taken)
        stems = _stems(problems)
        like = next(
            (s.name for s in found if s.like is None and 2 * len(stems & _stems(files[s.path])) > len(stems)), None
        )
        questions = sum(len(problem.questions) for problem in problems)
        found.append(ProposedSource(name, path, labels, len(problems), questions, guessed, like))
    return tuple(found)


def _mixes(
    sources: Sequence[ProposedSource], problems: Mapping[str, Sequence[Problem]], validation: str | None
) -> tuple[Mix, ...]:
    """All of it; two samples; each other labelling of a source; all but one source; the gold alone. Mixes that draw
    nothing, or what another has drawn, are left out."""
    first = [source.name for source in sources if source.like is None]
    wanted = [Mix("all", _uses(first))]
    wanted += [Mix(f"all-{SAMPLE * 100:.0f}-s{seed}", _uses(first), SAMPLE, seed) for seed in (1, 2)]
    for other in sources:
        if other.like is not None:
            swapped = [other.name if name == other.like else name for name in first]
            wanted.append(Mix(f"all-{other.name}"[:64], _uses(swapped)))
    for name in first[1:] if len(first) <= _MOST_LEFT_OUT else ():
        wanted.append(Mix(f"without-{name}"[:64], _uses([other for other in first if other != name])))
    gold = [source.name for source in sources if source.like is None and source.labels == "gold"]
    wanted.append(Mix("gold-only", _uses(gold)))
    held = set()
    if validation is not None:
        held = {problem.stem for problem in split_by_stem(problems[validation], FRACTION, 0)[1]}
    found: dict[bytes, Mix] = {}
    for mix in wanted:
        examples = draw(mix, problems, held)
        if examples:
            found.setdefault(content_bytes(examples), mix)
    return tuple(found.values())


def _uses(names: Sequence[str]) -> tuple[Use, ...]:
    return tuple(Use(name) for name in names)
