"""The batch file as YAML: its values, and the line of each.

Knows YAML's own traps (keys named twice, dates, octal and base-60 numbers, tags). Knows no key of the batch
file.

It reads the node graph rather than the loaded values, for the lines; with PyYAML's own loader rather than
libyaml's, so that a syntax error reads the same on every machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from nonet.questions.defect import Defect, shown

KeyPath = tuple[str | int, ...]

MAX_DEPTH = 20
MAX_NODES = 20_000
_CORE = "tag:yaml.org,2002:"
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")


def key_path(path: KeyPath) -> str:
    """A path as people write it: `mixes.all.use[0]`; "the file" for the empty one."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".") or "the file"


@dataclass(slots=True)
class Document:
    """A parsed file: `value` (dict, list, text, number, bool or None), lines from 1, and scalars as
    written.
    """

    file: str
    value: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    written: dict[KeyPath, str] = field(default_factory=dict)
    unread: set[KeyPath] = field(default_factory=set)
    defects: list[Defect] = field(default_factory=list)

    def refuse(self, path: KeyPath, value: str, message: str, remedy: str) -> None:
        """Note a defect at `path`; its line is that of the nearest key that is in the file."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        place = f"line {self.lines.get(known, 1)}, {key_path(path)}"
        self.defects.append(Defect(self.file, place, value, message, remedy))

    def at(self, path: KeyPath) -> Any:
        """The value at a path; None where there is none."""
        value = self.value
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def text_at(self, *path: str | int) -> str | None:
        """The text at a path; None where there is none, or another type."""
        value = self.at(path)
        return value if isinstance(value, str) and value else None

    def mapping_at(self, *path: str | int) -> dict[str, Any]:
        """The mapping at a path; an empty one where there is none, or another type."""
        value = self.at(path)
        return value if isinstance(value, dict) else {}

    def list_at(self, *path: str | int) -> list[Any]:
        """The list at a path; an empty one where there is none, or another type."""
        value = self.at(path)
        return value if isinstance(value, list) else []

    def as_written(self, path: KeyPath, value: object) -> str:
        """The scalar at `path` as the file has it, quotes aside; else the value."""
        text = self.written.get(path)
        return shown(value) if text is None or isinstance(value, str) else text


def parse(file: str, data: bytes) -> Document:
    """Parse one YAML document; never raises: what is wrong is in the document's defects."""
    document = Document(file)
    try:
        root = yaml.compose(data.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        document.lines[()] = data[: error.start].count(b"\n") + 1
        found = shown(data[error.start : error.start + 8])
        document.refuse((), found, "not UTF-8", "Save the file as UTF-8.")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.lines[()] = mark.line + 1 if mark else 1
        lines = data.decode("utf-8-sig").splitlines()
        line = lines[mark.line] if mark and mark.line < len(lines) else ""
        said = ", ".join(part for part in (error.context, error.problem) if part)
        document.refuse((), shown(line.strip()), f"not YAML: {said}", _syntax_remedy(line))
    except yaml.reader.ReaderError as error:
        document.refuse((), f"U+{error.character:04X}", f"not YAML: {error.reason}", "Remove the character.")
    else:
        if root is not None:
            document.lines[()] = root.start_mark.line + 1
            document.value = _Builder(document).build(root, ())
    return document


def _syntax_remedy(line: str) -> str:
    if "：" in line or "，" in line:
        return "Write half-width ': ' and ',' outside quotes."
    if "\t" in line:
        return "Indent with spaces, not tabs."
    return "Check the indentation, and that ':' has a space after it, here and one line above."


class _Builder:
    """Turns nodes into values and notes their lines."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.constructor = yaml.constructor.SafeConstructor()
        self.nodes = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.nodes += 1
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > MAX_DEPTH or self.nodes > MAX_NODES:
            if self.nodes <= MAX_NODES + 1:
                remedy = "Write it without aliases (*name) that repeat themselves."
                self.document.refuse(path, "", "the file is nested too deeply or unfolds without end", remedy)
                self.nodes = MAX_NODES + 1
            return None
        if isinstance(node, yaml.MappingNode):
            return self.build_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, at)) for at, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self.build_scalar(node, path)

    def build_mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self.key_of(key_node, path, line)
            if key is None:
                continue
            below = (*path, key)
            if key in found:
                first = self.document.lines[below]
                what: dict[KeyPath, str] = {
                    ("mixes",): "two mixes have one name",
                    ("sources",): "two sources have one name",
                    ("bases",): "two bases have one name",
                }
                message = f"{what.get(path, 'the key is there twice')}: line {first} has it too"
                place = f"line {line}, {key_path(below)}"
                remedy = "Rename or remove one of them."
                self.document.defects.append(Defect(self.document.file, place, shown(key), message, remedy))
                continue
            self.document.lines[below] = line
            found[key] = self.build(value_node, below)
        return found

    def key_of(self, node: yaml.Node, path: KeyPath, line: int) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag == f"{_CORE}str":
            return str(node.value)
        found = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        if node.tag == f"{_CORE}merge":
            remedy = "Merge keys (<<) are not read here: write the keys out."
        else:
            remedy = f'Write the key in quotes: "{found}".'
        place = f"line {line}, {key_path(path)}"
        self.document.defects.append(Defect(self.document.file, place, shown(found), "a key must be text", remedy))
        return None

    def build_scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text = str(node.value)
        self.document.written[path] = text
        kind = node.tag.removeprefix(_CORE)
        if kind == "int" and not _DECIMAL.fullmatch(text):
            what = "YAML 1.1 reads this as an octal, hexadecimal, binary or base-60 number"
            return self.unread(path, text, what, "Write a decimal number, or text in quotes.")
        if kind == "timestamp":
            return self.unread(path, text, "YAML reads this as a date", f'Write it in quotes: "{text}".')
        if kind not in ("str", "int", "float", "bool", "null"):
            return self.unread(path, node.tag, "a tag is not allowed", "Remove the tag (what starts with '!').")
        try:
            return self.constructor.construct_object(node)
        except (ValueError, yaml.YAMLError) as error:
            return self.unread(path, text, f"the value cannot be read: {error}", "Write a plain value.")

    def unread(self, path: KeyPath, value: str, message: str, remedy: str) -> None:
        self.document.refuse(path, value, message, remedy)
        self.document.unread.add(path)
