"""Write the tutorial's data: a few of the demo's rows as tables, one question a row, as people have them.

Run from the repository's root: `python -m data.make_examples [FOLDER]` (default `data/examples`).
"""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

DEMO = Path(__file__).resolve().parent / "demo"
OPTIONS = "ABCDE"
FILES = {"train.csv": ("official.jsonl", 6), "test.csv": ("test.jsonl", 5), "test_answers.csv": ("test_gold.jsonl", 5)}
"""File to write, the demo's file that it is taken from, and how many of its problems."""


def build_table(name: str, problems: int) -> str:
    """The first `problems` rows of a file of the demo as CSV with a header."""
    lines = (DEMO / name).read_text("utf-8").splitlines()[:problems]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["passage", "question", *OPTIONS, "answer"])
    for row in map(json.loads, lines):
        for question in row["questions"]:
            options = question["options"] + [""] * (len(OPTIONS) - len(question["options"]))
            writer.writerow([row["problem"], question["question"], *options, question.get("answer", "")])
    return table.getvalue()


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data/examples")
    for file, (name, problems) in FILES.items():
        (folder / file).write_text(build_table(name, problems), encoding="utf-8")


if __name__ == "__main__":
    main()
