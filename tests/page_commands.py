"""The commands that the documentation shows, page by page. Knows Markdown and how a shell line is read; runs nothing.

Lines after `$ ` in a block of `console` are run by `tests/acceptance/test_readme.py`, as they stand. Lines of a block
of `sh` are those that cannot be: they go on until they are told to stop, or need a second machine, a GPU, a bucket, a
hub or containers. `tests/unit/test_pages.py` reads these with the command's own parser, and those inside a text too.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHINESE = {
    "README.zh-CN.md": "README.md",
    "docs/zh-CN/tutorial.md": "docs/tutorial.md",
    "docs/zh-CN/own-data.md": "docs/how-to/own-data.md",
}
"""Pages in Chinese, and the page in English whose commands they show: these are run once."""
LAST = "docs/tutorial.md"
"""The page that submits a batch of its own: the others speak of the demo as the latest run."""


@dataclass(frozen=True)
class Command:
    """One command of a page: its words, as a shell would split them, without settings before it."""

    page: str
    text: str
    words: tuple[str, ...]


def pages() -> list[str]:
    """Every page of the documentation, README first and the tutorial last."""
    found = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    folded = ["README.zh-CN.md", "ARCHITECTURE.md", "GLOSSARY.md", "config/stacks/README.md", "data/README.md"]
    return ["README.md", *folded, *sorted(page for page in found if page != LAST), LAST]


def blocks(page: str, language: str) -> Iterator[str]:
    """The lines of a page's code blocks in `language`; what ends with a backslash goes on."""
    text = (ROOT / page).read_text("utf-8")
    for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M):
        yield from block.replace("\\\n", " ").splitlines()


def run_commands(page: str) -> list[Command]:
    """What is run of a page."""
    lines = (line[2:] for line in blocks(page, "console") if line.startswith("$ "))
    return [Command(page, line, tuple(shlex.split(line))) for line in lines]


def read_commands(page: str) -> list[Command]:
    """What is only read of a page: each command of each line of shell."""
    found = []
    for line in blocks(page, "sh"):
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            command, words = words[:end], words[end + 1 :]
            while command and re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", command[0]):
                command = command[1:]
            if command:
                found.append(Command(page, line, tuple(command)))
    return found


def mentioned(page: str) -> list[Command]:
    """Commands of `nonet` inside a text: what stands there in backticks and begins with it."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text("utf-8"), flags=re.S | re.M)
    found = (re.sub(r"\s+", " ", code) for code in re.findall(r"`(nonet [^`]+)`", text))
    return [Command(page, code, tuple(code.split())) for code in found]
