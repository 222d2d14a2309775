"""The validation split, by stem.

Knows when two stems are the same text, and how to set some stems aside. Several rows of one file share a
stem under different ids: a stem is never on both sides.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from nonet.questions.problem import Problem

_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})


@lru_cache(maxsize=16_384)  # every mix asks for the same stems
def normal_stem(stem: str) -> str:
    """The stem by which texts are compared: NFKC, without white space and invisible characters.

    Full- and half-width punctuation, line breaks and a stray byte-order mark make no difference.
    """
    folded = "".join(unicodedata.normalize("NFKC", stem).split())
    if folded.isprintable():
        return folded
    return "".join(char for char in folded if unicodedata.category(char) not in _INVISIBLE)


def split_by_stem(
    problems: Sequence[Problem], fraction: float, seed: int
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """(train, validation): whole stems are set aside until `fraction` of the problems (at least one) is
    reached.

    Both keep the order of `problems`. The choice depends on the stems and the seed alone, not on the order
    of rows: stems are taken by the rank of sha256(seed, stem). Raises ValueError where the fraction is not
    within (0, 1) or there are fewer than two different stems.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"a validation fraction of {fraction} is not between 0 and 1")
    sizes: dict[str, int] = {}
    for problem in problems:
        stem = normal_stem(problem.stem)
        sizes[stem] = sizes.get(stem, 0) + 1
    if len(sizes) < 2:
        raise ValueError(f"{len(problems)} problems with {len(sizes)} different stems cannot be split in two")
    wanted = max(1, round(fraction * len(problems)))
    ranked = sorted(sizes, key=lambda stem: hashlib.sha256(f"{seed}\0{stem}".encode()).digest())
    chosen: set[str] = set()
    taken = 0
    for stem in ranked[:-1]:
        if taken >= wanted:
            break
        chosen.add(stem)
        taken += sizes[stem]
    return (
        tuple(problem for problem in problems if normal_stem(problem.stem) not in chosen),
        tuple(problem for problem in problems if normal_stem(problem.stem) in chosen),
    )
