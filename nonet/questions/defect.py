"""Defects of what people hand in: where, what was found, what to do about it.

Knows how a defect is told. Does not look for any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 80


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing wrong in a file.

    `place` is a line, a key, or both ("line 12, questions[1].answer", "line 7, mixes.all.use[0]"); `value`
    what stands there (shortened, "" where nothing does); `remedy` what to write or do instead.
    """

    file: str
    place: str
    value: str
    message: str
    remedy: str

    def __str__(self) -> str:
        found = f" (found {self.value})" if self.value else ""
        return f"{self.file}: {self.place}: {self.message}{found}. {self.remedy}"


class DefectsError(ValueError):
    """What was handed in cannot be used. `defects` holds all; `str()` shows one a line."""

    def __init__(self, defects: Iterable[Defect]) -> None:
        self.defects = tuple(defects)
        super().__init__(self.defects)

    def __str__(self) -> str:
        by_file = Counter(defect.file for defect in self.defects)
        noun = "defect" if len(self.defects) == 1 else "defects"
        heads = ", ".join(f"{count} in {file}" for file, count in by_file.items())
        return "\n".join([f"{len(self.defects)} {noun}: {heads}", *map(str, self.defects)])


def shown(value: object) -> str:
    """A value as one short line of text: its repr, cut in the middle where longer than 80 characters."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 21]}…{text[-20:]}"
