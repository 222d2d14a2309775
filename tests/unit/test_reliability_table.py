"""The table of faults in docs/reliability.md names, for each row, the test files that show it: no more, no fewer."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

FAULTS = 25
_ROW = re.compile(r"^\| (\d+) .*\| ([^|]*) \|$")
_SAID = re.compile(r"Rows? (\d+)(?:(?:, | and )(\d+))*")


def test_every_fault_is_shown_by_the_files_that_the_table_names(root: Path) -> None:
    shown = defaultdict(set)
    for path in (root / "tests" / "faults").glob("test_*.py"):
        for row in rows_of(path):
            shown[row].add(path.name)
    table = {}
    for line in (root / "docs" / "reliability.md").read_text(encoding="utf-8").splitlines():
        if match := _ROW.match(line):
            table[int(match[1])] = set(re.findall(r"`(test_\w+\.py)`", match[2]))
    assert sorted(table) == list(range(1, FAULTS + 1))
    assert table == dict(shown)


def rows_of(path: Path) -> Iterator[int]:
    """Rows that the tests in a file say they show."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            said = _SAID.match(ast.get_docstring(node) or "")
            if said is not None:
                yield from map(int, re.findall(r"\d+", said[0]))
