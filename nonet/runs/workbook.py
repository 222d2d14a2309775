"""log.xlsx: the logbook as a workbook, one sheet a base. Knows Excel's sheets and cells, not what is logged."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nonet.runs.logbook import Entry, Logbook, read_logbook
from nonet.stores.storage import Storage

UNKNOWN = "???"
SHEET_LENGTH = 31
"""Most characters of a sheet's name in Excel."""
TRIES = 8
"""How often the file is written when storage changes meanwhile."""
_FORBIDDEN = re.compile(r"[\[\]:*?/\\'\x00-\x1f]+")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, the field of an Entry, Excel's number format, its width in characters."""

    heading: str
    field: str
    form: str
    width: int


COLUMNS = (
    Column("run", "run", "@", 24),
    Column("mix", "mix", "@", 20),
    Column("sources and rows", "sources", "@", 52),
    Column("rows", "rows", "#,##0", 8),
    Column("questions", "questions", "#,##0", 10),
    Column("leaked rows", "leaked", "#,##0", 12),
    Column("sample", "sample", "0.00", 8),
    Column("sample seed", "sample_seed", "0", 12),
    Column("seed", "seed", "0", 6),
    Column("steps", "steps", "#,##0", 8),
    Column("loss", "loss", "0.0000", 9),
    Column("minutes", "minutes", "0.0", 9),
    Column("memory GiB", "memory", "0.00", 12),
    Column("validation", "validation", "0.0000", 11),
    Column("test", "test", "0.0000", 9),
    Column("in the vote", "in_vote", "@", 12),
)
_MAY_BE_UNKNOWN = {"validation", "test", "in_vote"}


def write_logbook(storage: Storage) -> Logbook:
    """Make log.xlsx anew from storage; returns what it holds. Raises OSError.

    Two runs may end at once, and the one that has read first may write last. So each writer looks at storage again
    after it has written, and writes again when there is more now: the file that stays is never older than the last
    run's end.
    """
    book = read_logbook(storage)
    for _ in range(TRIES):
        storage.store.replace(storage.home.logbook, workbook_bytes(book))
        now = read_logbook(storage)
        if now == book:
            break
        book = now
    return book


def workbook_bytes(book: Logbook) -> bytes:
    """The logbook as an .xlsx file. Text is text, whatever it begins with: no formula and no link is made of it."""
    from xlsxwriter import Workbook

    data = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with Workbook(data, options) as workbook:
        names = sheet_names(book.sheets)
        for name, entries in zip(names, book.sheets.values(), strict=True):
            _write_sheet(workbook, name, entries)
        if not names:
            workbook.add_worksheet("no runs yet")
    return data.getvalue()


def _write_sheet(workbook: Any, name: str, entries: Sequence[Entry]) -> None:
    sheet = workbook.add_worksheet(name)
    heading = workbook.add_format({"bold": True, "bottom": 1})
    for at, column in enumerate(COLUMNS):
        look = {"num_format": column.form}
        plain, bold = workbook.add_format(look), workbook.add_format(look | {"bold": True, "bottom": 4})
        unknown = workbook.add_format({"align": "right", "font_color": "#808080"})
        sheet.set_column(at, at, column.width)
        sheet.write_string(0, at, column.heading, heading)
        for row, entry in enumerate(entries, 1):
            value = _value(entry, column.field)
            if value is None:
                sheet.write_blank(row, at, None, bold if entry.vote else plain)
            elif isinstance(value, str):
                look_of = unknown if value == UNKNOWN else bold if entry.vote else plain
                sheet.write_string(row, at, value, look_of)
            else:
                sheet.write_number(row, at, value, bold if entry.vote else plain)
    sheet.freeze_panes(1, 2)
    sheet.autofilter(0, 0, max(1, len(entries)), len(COLUMNS) - 1)


def _value(entry: Entry, field: str) -> str | float | None:
    """What a cell shows: a number, text, "???" for what nobody knows yet, None for what does not apply."""
    value: str | float | bool | None = getattr(entry, field)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None and field in _MAY_BE_UNKNOWN and not (entry.vote and field == "in_vote"):
        return UNKNOWN
    return value


def sheet_names(bases: Iterable[tuple[str, str]]) -> list[str]:
    """A name for the sheet of each (model, digest): the last part of the model's name as Excel allows it, each once."""
    names: list[str] = []
    for model, digest in bases:
        name = _FORBIDDEN.sub("_", model.rstrip("/").rpartition("/")[2])[:SHEET_LENGTH].strip() or "base"
        if name.casefold() in {known.casefold() for known in names} | {"history"}:
            name = f"{name[: SHEET_LENGTH - 9]} {digest[:8]}"
        names.append(name)
    return names
