"""The house rules, as tests. Knows the files of the checkout and nothing of what they do."""

from __future__ import annotations

import ast
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("nonet", "config", "tasks", "workers", "scheduler", "cli", "nonet_client")
MOST_LINES = 400
BANNED_NAMES = {"util", "utils", "common", "helper", "helpers", "manager", "process", "handle", "misc"}
HEAVY = {"accelerate", "datasets", "gptqmodel", "peft", "torch", "torchao", "transformers", "triton", "vllm"}
GONE_BY = ("root", "home", "Users", "opt", "work", "mnt")
"""First folders of paths that stand on one machine only."""


def files(*suffixes: str) -> list[Path]:
    """All files of the checkout with one of `suffixes`, without environments, caches, builds and runs."""
    return sorted(p for p in _walk() if p.suffix in suffixes)


def _walk() -> Iterator[Path]:
    for folder, below, names in os.walk(ROOT):
        below[:] = [d for d in below if d == ".ci" or not (d.startswith(".") or d in {"__pycache__", "build", "dist"})]
        yield from (Path(folder, name) for name in names)


def modules() -> list[Path]:
    """The Python files of the packages."""
    return [p for p in files(".py") if p.relative_to(ROOT).parts[0] in PACKAGES]


def place(path: Path, line: int | None = None) -> str:
    return f"{path.relative_to(ROOT)}" + (f":{line}" if line else "")


def test_layers_hold() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_no_file_is_long(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = {p: len(p.read_text("utf-8").splitlines()) for p in files(".py")}
    with capsys.disabled():
        print(f"\n{len(lengths)} Python files, median {statistics.median(lengths.values()):.0f} lines", end=" ")
    long = [f"{place(p)}: {n} lines" for p, n in lengths.items() if n > MOST_LINES]
    assert not long, f"at most {MOST_LINES} lines a file:\n" + "\n".join(long)


def test_no_module_has_an_empty_name() -> None:
    banned = [place(p) for p in files(".py") for part in p.relative_to(ROOT).parts if _words(part) & BANNED_NAMES]
    assert not banned, f"name what it is about, not one of {sorted(BANNED_NAMES)}:\n" + "\n".join(banned)


def _words(name: str) -> set[str]:
    return set(name.removesuffix(".py").lower().split("_"))


def test_every_module_says_what_it_knows() -> None:
    silent = [
        place(p) for p in modules() if p.read_text("utf-8").strip() and not ast.get_docstring(ast.parse(p.read_bytes()))
    ]
    assert not silent, "a module docstring is missing:\n" + "\n".join(silent)


def test_heavy_libraries_are_imported_inside_functions() -> None:
    early = [
        f"{place(p, line)}: {name}"
        for p in modules()
        for name, line in top_level_imports(ast.parse(p.read_bytes()).body)
        if name.split(".")[0] in HEAVY
    ]
    assert not early, "import these inside the function that needs them:\n" + "\n".join(early)


def top_level_imports(body: list[ast.stmt]) -> Iterator[tuple[str, int]]:
    """(module, line) of each import that runs when the module is imported; not those under TYPE_CHECKING."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.lineno
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from top_level_imports(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in ("body", "orelse", "finalbody"):
                yield from top_level_imports(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                yield from top_level_imports(handler.body)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch.nn as nn", ["torch.nn"]),
        ("try:\n  from vllm import LLM\nexcept ImportError:\n  import peft", ["vllm", "peft"]),
        ("class A:\n  import torch", ["torch"]),
        ("if TYPE_CHECKING:\n  import torch\nelse:\n  import peft", ["peft"]),
        ("def f():\n  import torch", []),
    ],
)
def test_top_level_imports_are_seen(source: str, found: list[str]) -> None:
    assert [name for name, _ in top_level_imports(ast.parse(source).body)] == found


def test_every_module_imports_without_a_heavy_library() -> None:
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in modules()]
    code = (
        "import importlib, sys\n"
        f"for name in {[n for n in names if not n.endswith('__main__')]!r}: importlib.import_module(name)\n"
        f"sys.exit(' '.join(sorted({HEAVY!r} & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"importing the packages imported or lacked: {done.stderr}"


def test_documents_name_no_machine() -> None:
    path = re.compile(rf"(?<![\w./~-])/(?:{'|'.join(GONE_BY)})/[\w.-]+")
    found = [f"{place(p, n)}: {m}" for p in files(".md") for n, m in _matches(p, path)]
    assert not found, "a path of one machine in a document:\n" + "\n".join(found)


def test_no_file_names_a_registry() -> None:
    address = re.compile(r"(?:--(?:extra-)?index-url|--find-links|-i)[ =]+\S*://|https?://\S*(?:/simple\b|/whl/)")
    suspects = [*files(".txt", ".toml", ".yml", ".yaml", ".md", ".gpu"), ROOT / "Makefile", ROOT / ".ci" / "run"]
    found = [f"{place(p, n)}: {m}" for p in suspects for n, m in _matches(p, address)]
    assert not found, "where packages come from is pip's own configuration:\n" + "\n".join(found)


def _matches(path: Path, pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        yield from ((number, found[0]) for found in pattern.finditer(line))


def test_documents_name_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    targets |= {f"stack-{p.stem}" for p in (ROOT / "config" / "stacks").glob("*.txt")}
    command = re.compile(r"(?<=`make )[a-z][a-z-]*|(?<=^make )[a-z][a-z-]*")
    unknown = [f"{place(p, n)}: make {m}" for p in files(".md") for n, m in _matches(p, command) if m not in targets]
    assert not unknown, "the Makefile has no such target:\n" + "\n".join(unknown)


def test_requirements_are_pinned_and_the_fleet_has_no_torch() -> None:
    loose = []
    for path in sorted((ROOT / "config" / "stacks").glob("*.txt")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            wanted = line.split("#")[0].strip()
            if wanted and not wanted.startswith("-") and not re.match(r"[\w.\[\]-]+ ?==[^,*]+$", wanted):
                loose.append(f"{place(path, number)}: {wanted}")
    assert not loose, "pin with ==:\n" + "\n".join(loose)
    fleet = (ROOT / "config" / "stacks" / "fleet.txt").read_text("utf-8")
    assert not re.search(r"^(torch|vllm|gptqmodel|peft)\b", fleet, re.M | re.I)


def test_what_is_shared_is_reached_through_the_store() -> None:
    """A path of the home is the file itself on a POSIX store only; elsewhere it is this machine's copy, or nothing."""
    direct = [
        f"{place(p, node.lineno)}: {ast.unparse(node)[:80]}"
        for p in modules()
        for node in ast.walk(ast.parse(p.read_bytes()))
        if _touches_a_file(node)
    ]
    assert not direct, "use home.store (nonet/stores/store.py):\n" + "\n".join(direct)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("home.plan(run).exists()", True),
        ("storage.home.runs.glob('*')", True),
        ("(session.home.run(r) / 'x').read_bytes()", True),
        ("replace_file(self._home.score(r), b'')", True),
        ("home.store.exists(home.plan(r))", False),
        ("home.fleet.mkdir()", False),
        ("path.exists()", False),
    ],
)
def test_paths_of_the_home_are_seen(source: str, found: bool) -> None:
    assert any(_touches_a_file(node) for node in ast.walk(ast.parse(source))) is found


_ON_PATHS = re.compile(
    "exists|glob|is_dir|is_file|iterdir|mkdir|open|(read|write)_(bytes|text)|rename|replace|rglob|stat|touch|unlink"
)
_WITH_PATHS = re.compile("create_file|file_digest|link_new|open|remove_parts|replace_file|rmtree|shortage")
_OF_THIS_MACHINE = {"fleet", "root", "store"}


def _touches_a_file(node: ast.AST) -> TypeGuard[ast.Call]:
    """`home.plan(run).exists()`, `replace_file(storage.home.score(run), …)` and their like."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if isinstance(node.func, ast.Attribute) and _ON_PATHS.fullmatch(name) and _in_the_home(node.func.value):
        return True
    return bool(_WITH_PATHS.fullmatch(name)) and any(_in_the_home(argument) for argument in node.args)


def _in_the_home(node: ast.AST) -> bool:
    """Whether an expression is a path of a home: `home.runs`, `session.home.plan(run)`, `home.run(run) / "x"`."""
    if isinstance(node, ast.BinOp):
        return _in_the_home(node.left)
    if isinstance(node, ast.Call):
        node = node.func
    if not isinstance(node, ast.Attribute) or node.attr in _OF_THIS_MACHINE:
        return False
    owner = node.value
    return (owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")) in ("home", "_home")
