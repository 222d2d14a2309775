"""Files of foreign rows, read: JSON, JSON Lines, CSV, TSV, Parquet, and LogiQA's own text.

Knows files, and hands them to the builders of `datasets` (a library of Hugging Face), which see plain local files, a
temporary cache and no hub. What a builder would refuse a whole file for (a line that is not JSON, a record with a field
too many) is left out here, by its line. Knows nothing of questions.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nonet.questions.defect import Defect, DefectsError, shown
from nonet.questions.rows import BOM, TO_UTF8, UTF16_MARKS

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".txt")
_MMLU = ("question", *"ABCDEFGHIJ")
_LOGIQA_LINES = 8
"""Lines of a block of LogiQA's text: empty, letter, context, question, four options."""


@dataclass(frozen=True, slots=True)
class ForeignRow:
    """One row with its `place` in the file ("line 12", "row 12", both from 1); what is not there is None."""

    place: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was left out: where, why, the value that it was left out for ("" for none), and the row itself."""

    place: str
    reason: str
    value: str
    row: object

    def to_json(self) -> dict[str, Any]:
        found = {"found": self.value} if self.value else {}
        return {"place": self.place, "reason": self.reason, **found, "row": self.row}


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one file, and the records that are none."""

    file: str
    columns: tuple[str, ...]
    rows: tuple[ForeignRow, ...]
    left_out: tuple[LeftOut, ...]


def read_table(path: Path) -> Table:
    """The rows of a file, in its order; raises DefectsError for one that cannot be read at all, OSError."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise _refusal(
            path, "the file", suffix, "not a kind of file that is read", f"Give one of {', '.join(SUFFIXES)}."
        )
    if suffix == ".parquet":
        return _table(path, _built("parquet", path), "row", [])
    text = _text(path)
    if suffix in (".csv", ".tsv"):
        return _csv_table(path, text)
    return _json_table(path, *(_logiqa(text) if suffix == ".txt" else _objects(path, text)))


def _text(path: Path) -> str:
    data = path.read_bytes()
    if data.startswith(UTF16_MARKS):
        raise _refusal(path, "line 1", shown(data[:2]), "the file is UTF-16, not UTF-8", "Save it as UTF-8.")
    try:
        return data.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        bad = shown(data[error.start : error.start + 8])
        raise _refusal(path, f"line {line}", bad, "not UTF-8", TO_UTF8) from None


def _refusal(path: Path, place: str, value: str, message: str, remedy: str) -> DefectsError:
    return DefectsError([Defect(str(path), place, value, message, remedy)])


Placed = list[tuple[str, Any]]
"""(place, JSON value) of each record."""


def _objects(path: Path, text: str) -> tuple[Placed, list[LeftOut]]:
    """The records of a JSON file: a list, an object that holds one list of objects, or one object a line."""
    try:
        whole = json.loads(text)
    except ValueError:
        return _lines(text)
    except RecursionError:
        raise _refusal(path, "the file", "", "the JSON is nested too deeply", "Give a list of rows.") from None
    if isinstance(whole, dict):
        lists = {k: v for k, v in whole.items() if isinstance(v, list) and v and isinstance(v[0], dict)}
        if len(lists) > 1 and not text.strip().count("\n"):
            return [("line 1", whole)], []
        if len(lists) > 1:
            remedy = "Write the rows of one of them to a file of their own, one a line."
            raise _refusal(path, "the file", ", ".join(lists), "several lists could be the rows", remedy)
        whole = next(iter(lists.values())) if lists and "questions" not in lists else [whole]
    if not isinstance(whole, list):
        raise _refusal(path, "the file", shown(whole), "the file holds no rows", "Give a list of JSON objects.")
    return [(f"row {number}", value) for number, value in enumerate(whole, 1)], []


def _lines(text: str) -> tuple[Placed, list[LeftOut]]:
    found: Placed = []
    left: list[LeftOut] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found.append((f"line {number}", json.loads(line)))
        except (ValueError, RecursionError) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            left.append(LeftOut(f"line {number}", "not JSON", said, line.strip()))
    return found, left


def _logiqa(text: str) -> tuple[Placed, list[LeftOut]]:
    """LogiQA's own files: blocks of an empty line, the letter, the context, the question and four options."""
    found: Placed = []
    left: list[LeftOut] = []
    block: list[tuple[int, str]] = []
    for number, line in [*enumerate(text.splitlines(), 1), (0, "")]:
        if line.strip():
            block.append((number, line.strip()))
        elif block:
            place, lines = f"line {block[0][0]}", [entry for _, entry in block]
            if len(lines) == _LOGIQA_LINES - 1:
                letter, context, query, *options = lines
                found.append((place, {"letter": letter, "context": context, "query": query, "options": options}))
            else:
                reason = f"not a block of {_LOGIQA_LINES - 1} lines: letter, context, question, four options"
                left.append(LeftOut(place, reason, f"{len(lines)} lines", "\n".join(lines)))
            block = []
    return found, left


def _json_table(path: Path, found: Placed, left: list[LeftOut]) -> Table:
    rows = []
    for place, value in found:
        if not isinstance(value, dict) or not value:
            left.append(LeftOut(place, "not a JSON object", shown(value), value))
        elif _is_writable(value):
            rows.append((place, value))
        else:
            reason = "half a surrogate pair, or a number that JSON does not have"
            left.append(LeftOut(place, reason, shown(value), repr(value)))
    if not rows:
        first = f"{left[0].place}: {left[0].reason}" if left else ""
        raise _refusal(
            path, "the file", first, "the file holds no rows", "Give one JSON object a line, or a list of them."
        )
    with TemporaryDirectory(prefix="nonet-rows-") as folder:
        clean = Path(folder) / "rows.jsonl"
        clean.write_text("".join(json.dumps(value) + "\n" for _, value in rows), encoding="ascii")
        columns = list(dict.fromkeys(key for _, value in rows for key in value))
        values = _built("json", clean, json_columns=columns, parse_agent_traces=False)
    return Table(
        str(path),
        tuple(columns),
        tuple(ForeignRow(place, value) for (place, _), value in zip(rows, values, strict=True)),
        tuple(left),
    )


def _is_writable(value: object) -> bool:
    """Whether a value that was read as JSON can be written as JSON: NaN and lone surrogates cannot."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:  # UnicodeEncodeError is one
        return False
    return True


def _csv_table(path: Path, text: str) -> Table:
    first = text.partition("\n")[0]
    separator = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    csv.field_size_limit(2**24)
    records: list[tuple[int, list[str]]] = []
    reader, begun = csv.reader(io.StringIO(text, newline=""), delimiter=separator), 1
    for record in reader:
        if any(cell.strip() for cell in record):
            records.append((begun, record))
        begun = reader.line_num + 1
    if not records:
        raise _refusal(path, "line 1", "", "the file holds no rows", "Give a CSV file with a header.")
    header = [cell.strip() for cell in records[0][1]]
    if _is_headless_mmlu(header):
        header = [*_MMLU[: len(header) - 1], "answer"]
    else:
        records = records[1:]
        header = [name or ("" if at else "row") for at, name in enumerate(header)]
    if len(set(header)) < len(header) or "" in header:
        remedy = "Give the file a first line with a name for each column."
        raise _refusal(path, "line 1", shown(header), "the columns have no names of their own", remedy)
    left = [
        LeftOut(f"line {line}", f"the header has {len(header)} fields", f"{len(record)} fields", record)
        for line, record in records
        if len(record) != len(header)
    ]
    kept = [(line, record) for line, record in records if len(record) == len(header)]
    if not kept:
        raise _refusal(path, "line 2", "", "no record has as many fields as the header", "Correct the file.")
    with TemporaryDirectory(prefix="nonet-rows-") as folder:
        clean = Path(folder) / "rows.csv"
        with clean.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *(record for _, record in kept)])
        values = _built("csv", clean, text_columns=header, keep_default_na=False, na_filter=False)
    return Table(
        str(path),
        tuple(header),
        tuple(ForeignRow(f"line {line}", value) for (line, _), value in zip(kept, values, strict=True)),
        tuple(left),
    )


def _is_headless_mmlu(record: Sequence[str]) -> bool:
    """Whether a first line is a question with its options and its letter: MMLU's files have no header."""
    options = "ABCDEFGHIJ"[: max(0, len(record) - 2)]
    return len(record) > 3 and len(record[-1]) == 1 and record[-1] in options


def _table(path: Path, values: Sequence[Mapping[str, Any]], unit: str, left: list[LeftOut]) -> Table:
    rows = tuple(ForeignRow(f"{unit} {number}", value) for number, value in enumerate(values, 1))
    if not rows:
        raise _refusal(path, "the file", "", "the file holds no rows", "Give a file with one row a question.")
    return Table(str(path), tuple(rows[0].values), rows, tuple(left))


def _built(
    kind: str, path: Path, *, json_columns: Sequence[str] = (), text_columns: Sequence[str] = (), **options: Any
) -> list[dict[str, Any]]:
    """The rows that a builder of `datasets` makes of a local file; class labels by their names."""
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    import datasets

    columns = {name: datasets.Json() for name in json_columns} | {n: datasets.Value("string") for n in text_columns}
    if columns:
        options["features"] = datasets.Features(columns)
    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what it has to say is in its error
    try:
        with TemporaryDirectory(prefix="nonet-cache-", ignore_cleanup_errors=True) as cache:
            made = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=cache, **options)
            return [dict(row) for row in _named(made)]
    except (datasets.exceptions.DatasetsError, ValueError) as error:  # pyarrow's errors are ValueErrors
        said = str(error.__cause__ or error).splitlines()[0]
        raise _refusal(path, "the file", "", f"cannot be read as {kind}: {said}", "Mend or convert it.") from error
    finally:
        if bars:
            datasets.enable_progress_bars()


def _named(made: Any) -> Iterator[Mapping[str, Any]]:
    """Rows with the names of class labels (`datasets.ClassLabel`) in place of their numbers."""
    labels = {name: feature for name, feature in made.features.items() if hasattr(feature, "int2str")}
    for row in made:
        yield row | {n: f.int2str(row[n]) for n, f in labels.items() if row[n] is not None and row[n] >= 0}
