"""Text that holds more than one thing: options inside a question's text, letters before options, a stem with its
question.

Knows how people write these, in English and Chinese. Divides only where that is certain.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_MARK = re.compile(r"^[ \t]*[(（]?([A-Z]{1,2})[)）、.．:：][ \t]*", re.M)
_BULLET = re.compile(r"^[ \t]*[-*•][ \t]+(.+?)[ \t]*$", re.M)
_HEADING = re.compile(r"\n[ \t]*(?:options|choices|选项|选择)[ \t]*[:：][ \t]*(?=\n)", re.I)
_INVISIBLE = re.compile("[\u200b\u2060\ufeff]")
_SENTENCE = re.compile(
    r"(?<!\b(?:Dr|Jr|Mr|Ms|No|Sr|St|vs))(?<!\bMrs)(?<!\bProf)(?<!\be\.g)(?<!\bi\.e)[.!?]['\"”’)]*\s+"
    r"|[。！？!?]['\"”’）)]*\s*|\n+"
)
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
ASK = "Which of the options is right?"
ASK_CHINESE = "以下哪一项是正确的？"


@dataclass(frozen=True, slots=True)
class Listed:
    """A text whose options stood inside it: what is before them, and the options without their marks."""

    text: str
    options: tuple[str, ...]


class UnorderedOptionsError(ValueError):
    """Options whose marks are not A, B, C … in order; `str()` is the marks."""


def listed(text: str) -> Listed | None:
    """Options that end a text, one or more lines each: marked A, B, C … in order, or bullets under "Options:".

    None where it ends otherwise; raises UnorderedOptionsError where its marks skip or repeat a letter. Zero-width
    spaces are taken out.
    """
    text = _INVISIBLE.sub("", text)
    marks = _marks(text)
    if len(marks) >= 2:
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        options = tuple(text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True))
        return Listed(_before(text[: marks[0].start()]), options)
    heading = list(_HEADING.finditer(text))
    if heading:
        below = text[heading[-1].end() :].strip().splitlines()
        bullets = [found[1] for line in below if (found := _BULLET.fullmatch(line))]
        if len(bullets) >= 2 and len(bullets) == len(below):
            return Listed(text[: heading[-1].start()].strip(), tuple(bullets))
    return None


def _marks(text: str) -> list[re.Match[str]]:
    """The marks from the last A on, which must go on letter by letter."""
    marks = list(_MARK.finditer(text))
    starts = [at for at, mark in enumerate(marks) if mark[1] == "A"]
    found = marks[starts[-1] :] if starts else []
    letters = [mark[1] for mark in found]
    if letters != _names(len(found)):
        raise UnorderedOptionsError(" ".join(letters))
    return found


def _names(count: int) -> list[str]:
    """A … Z, AA, AB, …"""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [(letters[at // 26 - 1] if at >= 26 else "") + letters[at % 26] for at in range(count)]


def _before(text: str) -> str:
    return _HEADING.sub("\n", text + "\n").strip()


def unmarked(options: Sequence[str]) -> tuple[str, ...]:
    """Options without the letters before them, where each has its own ("(A) …", "A. …", "A、…"); else as they are."""
    marks = [_MARK.match(option) for option in options]
    if all(marks) and [mark[1] for mark in marks if mark] == _names(len(options)):
        return tuple(option[mark.end() :].strip() for option, mark in zip(options, marks, strict=True) if mark)
    return tuple(options)


def divided(text: str) -> tuple[str, str]:
    """(stem, question): the last sentence where it asks or is left open, else all of it and a general question."""
    text = text.strip()
    ends = [found.end() for found in _SENTENCE.finditer(text) if found.end() < len(text)]
    if ends:
        stem, question = text[: ends[-1]].strip(), text[ends[-1] :].strip()
        if not question.endswith((".", "。", "!", "！")) and re.search(r"\w", question):
            return stem, question
    return text, ASK_CHINESE if _CHINESE.search(text) else ASK


def plain(text: str) -> str:
    """A text by which answers and options are compared: NFKC, outer white space gone."""
    return unicodedata.normalize("NFKC", text).strip()
