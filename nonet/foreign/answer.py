"""Right answers as people write them: a letter, an index from 0 or from 1, or the text of an option.

Knows how each is read, and when it is certain which one a file uses. Guesses nothing: where two readings fit, the
person has to say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from nonet.foreign.wording import plain
from nonet.questions.problem import LETTERS


class AnswerKind(StrEnum):
    """What an answer is."""

    LETTER = "letter"
    INDEX0 = "index0"
    INDEX1 = "index1"
    TEXT = "text"


Asked = tuple[object, tuple[str, ...]]
"""An answer as it stands in the file, with the options that it chooses from."""


class UnreadableAnswerError(ValueError):
    """An answer that names no option; `str()` says why."""


class UncertainAnswersError(ValueError):
    """What the answers of a file are cannot be told; `str()` says why, and what they may be."""


def letter_of(kind: AnswerKind, answer: object, options: Sequence[str]) -> str:
    """The letter that an answer of that kind names; raises UnreadableAnswerError."""
    if isinstance(answer, list | tuple):
        if len(answer) != 1:
            raise UnreadableAnswerError("several right answers" if answer else "no answer")
        answer = answer[0]
    if is_missing(answer):
        raise UnreadableAnswerError("no answer")
    if kind is AnswerKind.LETTER:
        return _letter(answer, len(options))
    if kind is AnswerKind.TEXT:
        return _text(answer, options)
    return _index(answer, len(options), 0 if kind is AnswerKind.INDEX0 else 1)


def is_missing(answer: object) -> bool:
    """Whether nothing is there: null, an empty text, an empty list, the -1 of unlabelled tests."""
    return answer is None or answer == [] or answer == -1 or (isinstance(answer, str) and not answer.strip())


def _letter(answer: object, count: int) -> str:
    if not isinstance(answer, str):
        raise UnreadableAnswerError("the answer is not a letter")
    text = plain(answer).strip("()[].:、 ").upper()
    letters = LETTERS[:count]
    if len(text) == 1 and text in letters:
        return text
    parts = re.split(r"[\s,、;/]+", text) if re.search(r"[\s,、;/]", text) else list(text)
    if len(parts) > 1 and all(len(part) == 1 and part in letters for part in parts) and parts == sorted(set(parts)):
        raise UnreadableAnswerError("several right letters")
    if re.fullmatch("[A-Z]{1,2}", text):
        raise UnreadableAnswerError("the letter is outside the options")
    raise UnreadableAnswerError("the answer is not a letter")


def _index(answer: object, count: int, first: int) -> str:
    number = _number(answer)
    if number is None:
        raise UnreadableAnswerError("the answer is not a whole number")
    if not 0 <= number - first < min(count, len(LETTERS)):
        raise UnreadableAnswerError("the index is outside the options")
    return LETTERS[number - first]


def _number(answer: object) -> int | None:
    if isinstance(answer, bool):
        return None
    if isinstance(answer, int):
        return answer
    if isinstance(answer, float):
        return int(answer) if answer.is_integer() else None
    return int(answer) if isinstance(answer, str) and re.fullmatch(r"\s*[0-9]+\s*", answer) else None


def _text(answer: object, options: Sequence[str]) -> str:
    wanted = plain(str(answer))
    places = [at for at, option in enumerate(options) if plain(option) == wanted]
    if len(places) > 1:
        raise UnreadableAnswerError("the answer is the text of several options")
    if not places or places[0] >= len(LETTERS):
        raise UnreadableAnswerError("the answer is the text of no option")
    return LETTERS[places[0]]


def certain_kind(asked: Sequence[Asked], kinds: Sequence[AnswerKind] = tuple(AnswerKind)) -> AnswerKind:
    """The one of `kinds` that the answers of a file are; raises UncertainAnswersError.

    It is certain where one kind reads every answer that any kind can read, at least half of all, and no other kind that
    does so would read one of them otherwise.
    """
    given = [(answer, options) for answer, options in asked if not is_missing(answer)]
    read = {kind: [_tried(kind, *one) for one in given] for kind in kinds}
    readable = [any(read[kind][at] for kind in kinds) for at in range(len(given))]
    whole = [k for k in kinds if all(letter or not any_ for letter, any_ in zip(read[k], readable, strict=True))]
    if sum(readable) * 2 < len(given) or not any(readable):
        first = next((answer for (answer, _), good in zip(given, readable, strict=True) if not good), None)
        raise UncertainAnswersError(f"most answers name no option, as {first!r}")
    if not whole:
        counts = ", ".join(f"{sum(map(bool, read[kind]))} as {kind}" for kind in kinds if any(read[kind]))
        raise UncertainAnswersError(f"of {len(given)} answers can be read {counts}, but no kind fits all of these")
    for other in whole[1:]:
        for at, (one, two) in enumerate(zip(read[whole[0]], read[other], strict=True)):
            if one != two:
                said = f"{given[at][0]!r} is {one} as {whole[0]} and {two} as {other}"
                raise UncertainAnswersError(f"the answers can be read in two ways: {said}")
    return whole[0]


def _tried(kind: AnswerKind, answer: object, options: Sequence[str]) -> str | None:
    try:
        return letter_of(kind, answer, options)
    except UnreadableAnswerError:
        return None
