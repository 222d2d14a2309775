"""Competition rows: JSON Lines read into problems, and written back.

Knows the row's shape, and every way in which a file of rows is refused. Knows nothing of mixes or batches.

A row is `{"id", "problem", "questions": [{"question", "options", "answer"}, …]}`; a test row has no
answers. A question may say how sure its answer is (`"margin"`, 0 to 1), a row whose vote answered it (`"pseudo":
{"run", "vote"}`, as `nonet pseudo` writes it). Further fields are allowed and ignored. Lines end with LF, text is
UTF-8 without a byte-order mark. Blank lines are skipped.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nonet.questions.defect import Defect, shown
from nonet.questions.problem import LETTERS, Problem, Question

BOM = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
ID_LENGTH = 200
PSEUDO = "pseudo"
"""The field of a row that says whose vote answered it."""
TEXT_LENGTH = 200_000
"""Most characters of a stem, a question or an option; a prompt holds far fewer, and reading more takes minutes."""
TO_UTF8 = "Save the file as UTF-8 (for Chinese GBK: iconv -f gb18030 -t utf-8)."
QUESTION_SHAPE = '{"question": "…", "options": ["…", "…"], "answer": "A"}'
SHAPE = '{"id": "…", "problem": "…", "questions": [' + QUESTION_SHAPE + "]}"
_ID_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f/\\#]|^\.|^\s|\s$")
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


class _RepeatedKey(ValueError):
    """A JSON object names one key twice."""


class _Reader:
    """Collects the problems and the defects of one file."""

    def __init__(self, file: str, labelled: bool) -> None:
        self.file = file
        self.labelled = labelled
        self.problems: list[Problem] = []
        self.defects: list[Defect] = []
        self.line_of_id: dict[str, int] = {}

    def refuse(self, place: str, value: str, message: str, remedy: str) -> None:
        self.defects.append(Defect(self.file, place, value, message, remedy))

    def read(self, data: bytes) -> None:
        if data.startswith(UTF16_MARKS):
            self.refuse("line 1", shown(data[:2]), "the file is UTF-16, not UTF-8", "Save it as UTF-8 without BOM.")
            return
        if data.startswith(BOM):
            self.refuse("line 1", "a byte-order mark", "the file opens with a BOM", "Save it as UTF-8 without BOM.")
            data = data[len(BOM) :]
        lines = data.split(b"\n")
        ended = [number for number, line in enumerate(lines, 1) if line.endswith(b"\r")]
        if ended:
            self.refuse(
                f"line {ended[0]}",
                f"{len(ended)} of {len(lines)} lines",
                "lines end with CRLF",
                "Save the file with LF line ends (dos2unix does it).",
            )
        for number, line in enumerate(lines, 1):
            if line.strip():
                self.read_line(number, line)
        if not self.problems and not self.defects:
            self.refuse("line 1", "no rows", "the file holds no problem", "Give a file with one row a line.")

    def read_line(self, number: int, line: bytes) -> None:
        place = f"line {number}"
        try:
            row = json.loads(line.decode("utf-8"), object_pairs_hook=_object)
        except UnicodeDecodeError as error:
            bad = line[error.start : error.start + 8]
            self.refuse(place, shown(bad), "not UTF-8", TO_UTF8)
        except _RepeatedKey as error:
            self.refuse(place, shown(str(error)), "one object names this field twice", "Keep one of them.")
        except (ValueError, RecursionError) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            text = line.decode("utf-8", "replace").strip()
            self.refuse(place, shown(text), f"not JSON: {said}", "Write one whole JSON object a line.")
        else:
            self.read_row(number, row)

    def read_row(self, number: int, row: object) -> None:
        place = f"line {number}"
        if not isinstance(row, dict):
            self.refuse(place, shown(row), f"a row must be a JSON object, not {_kind(row)}", f"Write {SHAPE}.")
            return
        before = len(self.defects)
        problem_id = self.read_id(number, row)
        stem = self.text_at(place, "problem", row)
        entries = self.list_at(place, "questions", row)
        if entries == []:
            self.refuse(f"{place}, questions", "[]", "the row has no question", "Give it one, or remove the row.")
        questions = [self.read_question(place, problem_id, index, entry) for index, entry in enumerate(entries or ())]
        if len(self.defects) == before and stem is not None:
            kept = tuple(question for question in questions if question is not None)
            self.problems.append(Problem(problem_id, stem, kept, _pseudo_run(row)))

    def read_id(self, number: int, row: Mapping[str, Any]) -> str:
        place = f"line {number}"
        value = self.text_at(place, "id", row)
        if value is None:
            return ""
        place = f"{place}, id"
        if not _is_plain(value):
            self.refuse(
                place,
                shown(value),
                "an id must be a plain name",
                f"Use no slash, backslash, '#', control character, leading dot or outer space, and at most "
                f"{ID_LENGTH} characters.",
            )
        elif unicodedata.normalize("NFKC", value) != value:
            self.refuse(place, shown(value), "the id holds full-width characters", f"Write {_plain(value)!r}.")
        elif value in self.line_of_id:
            self.refuse(
                place,
                shown(value),
                f"duplicate (id, index): line {self.line_of_id[value]} has this id too",
                "Give every row of a file its own id.",
            )
        else:
            self.line_of_id[value] = number
        return value

    def read_question(self, row_place: str, problem_id: str, index: int, entry: object) -> Question | None:
        place = f"{row_place}, questions[{index}]"
        if not isinstance(entry, dict):
            message = f"a question must be a JSON object, not {_kind(entry)}"
            self.refuse(place, shown(entry), message, f"Write {QUESTION_SHAPE}.")
            return None
        text = self.text_at(place, "question", entry, joint=".")
        options = self.read_options(place, entry)
        gold = self.read_answer(f"{place}.answer", entry, len(options) if options is not None else None)
        if text is None or options is None:
            return None
        return Question(problem_id, index, text, options, gold, _margin(entry))

    def read_options(self, place: str, entry: Mapping[str, Any]) -> tuple[str, ...] | None:
        found = self.list_at(place, "options", entry, joint=".")
        if found is None:
            return None
        count = len(found)
        if count < 2:
            self.refuse(f"{place}.options", f"{count}", "fewer than two options", "Give 2 to 10 options.")
        elif count > len(LETTERS):
            self.refuse(f"{place}.options", f"{count}", "more than ten options", "Give 2 to 10 options.")
        texts = [self.check_text(f"{place}.options[{at}]", option) for at, option in enumerate(found)]
        return tuple(text if text is not None else "" for text in texts)

    def read_answer(self, place: str, entry: Mapping[str, Any], count: int | None) -> str | None:
        """The gold letter; `count` is the number of options, None where the options could not be read."""
        value = entry.get("answer")
        letters = LETTERS[:count] if count is not None and 2 <= count <= len(LETTERS) else LETTERS
        wanted = f"Write one of {', '.join(letters)}."
        if value is None or value == "":
            if self.labelled:
                found = "" if "answer" not in entry else shown(value)
                self.refuse(place, found, "the answer is missing", wanted)
            return None
        if not isinstance(value, str):
            self.refuse(place, shown(value), f"the answer must be a letter, not {_kind(value)}", wanted)
        elif _is_letter(value) and value in letters:
            return value
        elif _plain(value) != value and _is_letter(_plain(value).strip().upper()):
            self.refuse(place, shown(value), "the answer is a full-width letter", wanted)
        elif _is_letter(value):
            self.refuse(place, shown(value), f"the answer is outside its {count} options", wanted)
        else:
            self.refuse(place, shown(value), "the answer is not one capital letter", wanted)
        return None

    def text_at(self, place: str, field: str, holder: Mapping[str, Any], joint: str = ", ") -> str | None:
        if field not in holder:
            self.refuse_missing(place, field, holder)
            return None
        return self.check_text(f"{place}{joint}{field}", holder[field])

    def list_at(self, place: str, field: str, holder: Mapping[str, Any], joint: str = ", ") -> list[Any] | None:
        if field not in holder:
            self.refuse_missing(place, field, holder)
            return None
        value = holder[field]
        if not isinstance(value, list):
            self.refuse(f"{place}{joint}{field}", shown(value), f"must be a list, not {_kind(value)}", "Write […].")
            return None
        return value

    def refuse_missing(self, place: str, field: str, holder: Mapping[str, Any]) -> None:
        fields = ", ".join(map(shown, holder)) or "no field"
        self.refuse(place, "", f"the field {field!r} is missing", f"Add it; the object has {fields}.")

    def check_text(self, place: str, value: object) -> str | None:
        if not isinstance(value, str):
            self.refuse(place, shown(value), f"must be text, not {_kind(value)}", 'Write it in "quotes".')
            return None
        if not value.strip():
            self.refuse(place, shown(value), "the text is empty", "Write the text.")
            return None
        if len(value) > TEXT_LENGTH:
            message = f"the text has {len(value)} characters, more than {TEXT_LENGTH}"
            self.refuse(place, shown(value), message, "Shorten it: a prompt holds a few hundred words.")
            return None
        bad = _UNWRITABLE.search(value)
        if bad:
            self.refuse(place, shown(bad[0]), "the text holds NUL or half a surrogate pair", "Remove it.")
            return None
        return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _RepeatedKey(key)
        found[key] = value
    return found


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _margin(entry: Mapping[str, Any]) -> float | None:
    """The margin of a question's answer; a field of that name that holds something else is another's, and ignored."""
    value = entry.get("margin")
    return float(value) if isinstance(value, int | float) and value is not True and 0 <= value <= 1 else None


def _pseudo_run(row: Mapping[str, Any]) -> str | None:
    pseudo = row.get(PSEUDO)
    run = pseudo.get("run") if isinstance(pseudo, dict) else None
    return run if isinstance(run, str) else None


def _is_letter(text: str) -> bool:
    return len(text) == 1 and text in LETTERS


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "true or false", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def _is_plain(problem_id: str) -> bool:
    return not _ID_FORBIDDEN.search(problem_id) and 0 < len(problem_id) <= ID_LENGTH


def is_plain_id(text: str) -> bool:
    """Whether a row may have this id."""
    return bool(text.strip()) and _is_plain(text) and unicodedata.normalize("NFKC", text) == text


def problem_of(row: object, *, labelled: bool) -> tuple[Problem | None, tuple[Defect, ...]]:
    """The problem that one row is, or None with every defect of it; see `read_problems`."""
    reader = _Reader("", labelled)
    reader.read_row(1, row)
    return (reader.problems[0] if reader.problems else None), tuple(reader.defects)


def read_problems(path: Path, *, labelled: bool) -> tuple[tuple[Problem, ...], tuple[Defect, ...]]:
    """Read a file of rows: the sound problems in file order, and every defect of the others.

    `labelled`: every question must have an answer; otherwise an answer may be absent, null or "", and is
    checked and kept as gold where there is one. Bad rows never raise; OSError does where the file cannot be
    read.
    """
    reader = _Reader(str(path), labelled)
    reader.read(path.read_bytes())
    return tuple(reader.problems), tuple(reader.defects)


def problem_row(problem: Problem, answers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A problem as a row. `answers` maps question ids to letters; None writes each question's gold, if it
    has one.
    """
    entries: list[dict[str, Any]] = []
    for question in problem.questions:
        entry: dict[str, Any] = {"question": question.text, "options": list(question.options)}
        letter = question.gold if answers is None else answers.get(question.id)
        if letter is not None:
            entry["answer"] = letter
        entries.append(entry)
    return {"problem": problem.stem, "questions": entries, "id": problem.id}


def dumps(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as JSON Lines: UTF-8, non-ASCII as it is, LF after every line."""
    return b"".join(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n" for row in rows)


def write_rows(path: Path, problems: Sequence[Problem], answers: Mapping[str, str] | None = None) -> None:
    """Write problems as rows to `path`; see `problem_row` for `answers`."""
    path.write_bytes(dumps(problem_row(problem, answers) for problem in problems))
