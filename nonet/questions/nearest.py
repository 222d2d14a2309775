"""The training rows whose stems are nearest to a stem, by the characters that they share. Knows texts and rows only.

Similarity is the cosine of TF-IDF vectors over character n-grams of the normal stem (see
`nonet.questions.split.normal_stem`): G. Salton and C. Buckley, "Term-weighting approaches in automatic text retrieval",
Information Processing & Management 24 (1988) 513-523; n-grams of characters need no words, so that Chinese and English
go the same way: W. B. Cavnar and J. M. Trenkle, "N-gram-based text categorization", SDAIR 1994. What many stems share
(the words of every puzzle) counts for little by that. Own code, since scikit-learn would put 150 MB on every machine
for two screens of arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nonet.questions.mix import Example
from nonet.questions.split import normal_stem

GRAM = 3
"""Characters of an n-gram."""
DIGITS = 4
"""Decimals of a similarity."""


@dataclass(frozen=True, slots=True)
class NearRow:
    """A row of a mix: its `source` and `row` id, its stem, what it was trained to answer (letters by index of the
    question), and the `similarity` of the stem, 0 (no n-gram in common) to 1 (the same text).
    """

    source: str
    row: str
    stem: str
    letters: Mapping[int, str]
    similarity: float


def nearest_rows(stem: str, mixes: Mapping[str, Sequence[Example]], most: int) -> dict[str, tuple[NearRow, ...]]:
    """For each of `mixes` (examples by name) its `most` rows nearest to `stem`, the nearest first; of equals the one
    that the mix has first. Rows without any n-gram in common are left out.

    An n-gram is worth what it is over the stems of all mixes together, each text once, so that a row has the same
    similarity in every mix.
    """
    normal = {text: normal_stem(text) for text in dict.fromkeys(e.stem for m in mixes.values() for e in m)}
    similarity = _similarities(normal_stem(stem), normal.values())
    return {name: tuple(_nearest(examples, normal, similarity, most)) for name, examples in mixes.items()}


def _nearest(
    examples: Iterable[Example], normal: Mapping[str, str], similarity: Mapping[str, float], most: int
) -> Iterable[NearRow]:
    rows: dict[tuple[str, str], list[Example]] = {}
    for example in examples:
        if normal[example.stem] in similarity:
            rows.setdefault((example.source, example.question_id.rpartition("#")[0]), []).append(example)
    found = sorted(rows.items(), key=lambda row: -similarity[normal[row[1][0].stem]])  # stable: of equals the first
    for (source, row), questions in found[:most]:
        letters = {int(e.question_id.rpartition("#")[2]): e.letter for e in questions}
        stem = questions[0].stem
        yield NearRow(source, row, stem, letters, round(similarity[normal[stem]], DIGITS))


def _similarities(text: str, others: Iterable[str]) -> dict[str, float]:
    """The similarity of `text` to each of `others`; those without any n-gram in common are left out."""
    import numpy

    texts = [*dict.fromkeys(others), text]  # in the order given, so that sums round the same way each time
    gram, holder = _grams(texts)
    known, gram = numpy.unique(gram, return_inverse=True)
    pair, count = numpy.unique(holder * len(known) + gram, return_counts=True)
    holder, gram = numpy.divmod(pair, len(known))
    asked = holder == len(texts) - 1
    holders = numpy.bincount(gram[~asked], minlength=len(known))
    weight = (1 + numpy.log(count)) * (numpy.log(len(texts) / (1 + holders[gram])) + 1)
    norm = numpy.sqrt(numpy.bincount(holder, weight**2))
    own = numpy.zeros(len(known))
    own[gram[asked]] = weight[asked]
    cosine = numpy.bincount(holder, weight * own[gram]) / (norm * norm[-1])
    return {other: min(1.0, float(found)) for other, found in zip(texts[:-1], cosine, strict=False) if found > 0}


def _grams(texts: Sequence[str]) -> tuple[Any, Any]:
    """Every n-gram of every text as one number, and the position of its text: two arrays of the same length. A text's
    last characters are followed by its end, so that one shorter than an n-gram has some, too."""
    import numpy

    lengths = [len(text) for text in texts]
    joined = ("\0" * (GRAM - 1)).join([*texts, ""])
    codes = numpy.frombuffer(joined.encode("utf-32-le"), dtype=numpy.uint32).astype(numpy.int64)
    starts = numpy.concatenate([numpy.arange(n) + at for n, at in zip(lengths, _offsets(lengths), strict=True)])
    gram = sum(codes[starts + at] << 21 * at for at in range(GRAM))  # a code point has 21 bits
    return gram, numpy.repeat(numpy.arange(len(texts)), lengths)


def _offsets(lengths: Iterable[int]) -> Iterable[int]:
    at = 0
    for length in lengths:
        yield at
        at += length + GRAM - 1
