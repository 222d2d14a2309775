"""Completions: the letter that a free text gives as its answer.

Knows how people and models write "the answer is B", in Chinese and English. Knows no engine and no gold.

The last valid statement wins ("答案是：A … 更正，答案是：B" is B), since the first match is often part of the
reasoning. A statement outranks a bare letter: in "答案是：B，因为 C 不成立" C is no answer. Bare letters
count only in a text without any statement that was not cut off; there, too, the last valid one
wins.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from nonet.questions.problem import LETTERS
from nonet.voting.ballot import AbstentionReason

_THOUGHT_END = "</think>"
_QUOTES = r"[\s*_\"'“”‘’`「」『』【】《》<>\[\](){}$]*"
_WRAP = rf"{_QUOTES}(?:\\(?:text|mathrm|mathbf|boxed)\s*\{{\s*)*{_QUOTES}"
_CUES = (
    # 答案是：… 正确选项为 … 答案应该选 … 答案：…
    r"(?:答案|正确的?选项|正确的?选择)[\s*_\"”」』】]*"
    r"(?:(?:应该|应当|应|就|只能)?(?:选择|选|是|为)|[:=])[\s:*]*(?:选择|选(?!项))?",
    # 故选 … 因此选择 … 我选 …, but not 不应选 …
    r"(?<!不)(?:故|因此|所以|应该|应当|应|只能|我)选择?(?!项)[\s:]*",
    # 应该是 … 应为 …
    r"(?<!不)(?:应该|应当|应)(?:是|为)[\s:]*",
    # 选 … at the start of a sentence
    r"(?:^|(?<=[。,.;!?\s]))选择?(?![项择])[\s:]*",
    # the answer is … Answer: … <answer>… correct option is …
    r"\b(?:answers?|correct\s+(?:option|choice)|(?:option|choice)(?=\s+is))\b[\s*_\"]*"
    r"(?:(?:is|was|would\s+be|should\s+be|must\s+be)\b|[:=>])[\s:*]*",
    r"\b(?:i|we)\s+(?:choose|pick|select)\s+",
    r"(?=\\boxed)",
)
_STATEMENT = re.compile(
    rf"(?:{'|'.join(_CUES)}){_WRAP}(?:选项|option|choice)?{_WRAP}"
    r"(?P<letter>[A-Za-z])(?![A-Za-z0-9'’])"
    r"(?P<more>(?:\s*(?:、|和|或|及|/|&|\bor\b|\band\b)\s*[A-Za-z](?![A-Za-z0-9]))*)",
    re.IGNORECASE,
)
_RUN = re.compile(
    rf"(?:答案(?:应该|应)?(?:是|为|:)+|\b[Aa]nswers?\s*(?:is|are|:)+)[\s:*]*{_WRAP}[A-J]{{2,}}(?![A-Za-z])"
)
_BARE = re.compile(r"(?<![A-Za-z0-9_\\])(?P<letter>[A-Z])(?![A-Za-z0-9_'’])")
_ARTICLE = re.compile(r"(?:A|I) (?!is\b)[a-z]")


@dataclass(frozen=True, slots=True)
class Parsed:
    """`letter`, or the `reason` for having none: exactly one of them is set."""

    letter: str | None
    reason: AbstentionReason | None


def parse_completion(text: str, letters: str, *, cut_off: bool = False) -> Parsed:
    """The answer that a completion gives among `letters` ("ABCD"); `cut_off`: it ran out of tokens.

    Full-width letters and punctuation, lower-case letters in statements, \\boxed{…}, **…** and brackets are
    read. What stands before a closing </think> is ignored unless nothing follows. Abstentions, in this
    order: EMPTY, SEVERAL_LETTERS or LETTER_OUT_OF_RANGE (the last statement, where none is valid), CUT_OFF,
    LETTER_OUT_OF_RANGE (bare letters, none of them valid), NO_LETTER.
    """
    plain = unicodedata.normalize("NFKC", text)
    thought, end, rest = plain.rpartition(_THOUGHT_END)
    plain = rest if end and rest.strip() else thought + rest
    if not plain.strip():
        return Parsed(None, AbstentionReason.CUT_OFF if cut_off else AbstentionReason.EMPTY)
    stated = _statements(plain)
    valid = [letter for letter in stated if letter in letters and len(letter) == 1]
    if valid:
        return Parsed(valid[-1], None)
    if stated:
        several = len(stated[-1]) > 1
        reason = AbstentionReason.SEVERAL_LETTERS if several else AbstentionReason.LETTER_OUT_OF_RANGE
        return Parsed(None, reason)
    if cut_off:
        return Parsed(None, AbstentionReason.CUT_OFF)
    bare = [match["letter"] for match in _BARE.finditer(plain) if not _ARTICLE.match(plain, match.start())]
    valid = [letter for letter in bare if letter in letters]
    if valid:
        return Parsed(valid[-1], None)
    named = any(letter in LETTERS for letter in bare)
    return Parsed(None, AbstentionReason.LETTER_OUT_OF_RANGE if named else AbstentionReason.NO_LETTER)


def _statements(plain: str) -> list[str]:
    """What each statement gives, in order: one letter, or several ("AC")."""
    found: list[tuple[int, str]] = []
    for match in _STATEMENT.finditer(plain):
        if match["letter"].islower() and re.match(r" +\w", plain[match.end() :]):
            continue  # the English article: "the answer is a man"
        more = re.findall(r"\b[A-Za-z]\b", re.sub(r"[、和或及/&]", " ", match["more"]))
        found.append((match.start(), "".join([match["letter"], *more]).upper()))
    found.extend((match.start(), "several") for match in _RUN.finditer(plain))
    return [given for _, given in sorted(found)]
