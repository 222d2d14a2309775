"""The documentation's commands that cannot be run to their end here are read by the command's own parser."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import click
import pytest

from cli.main import nonet_command
from config.flower_login import FlowerSettings
from config.settings import Settings
from tests.page_commands import CHINESE, ROOT, Command, mentioned, pages, read_commands, run_commands

SHELL = {".", "cd", "chmod", "cp", "export", "htpasswd", "iconv", "openssl", "pip", "sudo"}
"""Programs that are the system's: nobody looks at what they are told."""


def parse(words: tuple[str, ...]) -> None:
    """Read the words after `nonet` as the command does; raises click's errors for what it would refuse, but for files
    that are not there."""
    command: click.Command = nonet_command
    context = click.Context(nonet_command, info_name="nonet")
    left = list(words)
    while isinstance(command, click.Group):
        if not left or left[0].startswith("-"):
            command.make_parser(context).parse_args(left)
            return
        name = left.pop(0)
        below = command.get_command(context, name)
        assert below is not None, f"nonet has no command {name!r}"
        command, context = below, click.Context(below, parent=context, info_name=name)
    try:
        command.make_context(context.info_name, left, parent=context.parent)
    except click.exceptions.Exit:
        return  # --help
    except click.BadParameter as error:
        if "does not exist" not in error.message:
            raise


def check(command: Command) -> None:
    program, *rest = command.words
    if program.startswith(".venv/bin/"):
        program = program.removeprefix(".venv/bin/")
    if program == "nonet":
        parse(tuple(rest))
    elif program == "docker":
        if "nonet" in rest:
            parse(tuple(rest[rest.index("nonet") + 1 :]))
    elif program == "python":
        assert rest[0] == "-m"
        spec = importlib.util.find_spec(rest[1])
        assert spec is not None, f"there is no module {rest[1]}"
        assert spec.origin is not None, rest[1]
        home = Path(spec.origin).parent
        text = "".join(file.read_text("utf-8") for file in home.rglob("*.py")) if home.is_relative_to(ROOT) else ""
        unknown = [word for word in rest if word.startswith("--") and text and f'"{word}"' not in text]
        assert not unknown, f"{rest[1]} has no option {unknown}"
    else:  # targets of make: test_house.py
        assert program in {"make", *SHELL}, f"{program}: nobody has said how this is tested"


@pytest.mark.parametrize("page", pages())
def test_what_a_page_shows_is_read_by_the_real_parser(page: str) -> None:
    for command in read_commands(page):
        try:
            check(command)
        except (AssertionError, click.ClickException) as error:
            pytest.fail(f"{page}: {command.text}: {error}")


@pytest.mark.parametrize("page", pages())
def test_what_a_page_mentions_exists(page: str) -> None:
    for command in mentioned(page):
        words = [word for word in command.words[1:] if word != "…"]
        found: click.Command = nonet_command
        context = click.Context(nonet_command)
        while isinstance(found, click.Group) and words and re.fullmatch("[a-z][a-z-]*", words[0]):
            below = found.get_command(context, words[0])
            assert below is not None, f"{page}: {command.text}"
            found, words = below, words[1:]
        options = {name for parameter in found.get_params(context) for name in parameter.opts}
        unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
        assert not unknown, f"{page}: {command.text}: no option {unknown}"


@pytest.mark.parametrize("page", pages())
def test_settings_that_a_page_names_exist(page: str) -> None:
    known = {f"NONET_{name.upper()}" for name in Settings.model_fields}
    known |= {f"NONET_FLOWER_{name.upper()}" for name in FlowerSettings.model_fields}
    compose = (ROOT / "docker-compose.yml").read_text("utf-8") + (ROOT / ".env.example").read_text("utf-8")
    known |= set(re.findall(r"NONET_[A-Z0-9_]+", compose))
    named = set(re.findall(r"(?<![A-Z_])NONET_[A-Z0-9_]+(?<!_)(?![A-Z0-9_*])", (ROOT / page).read_text("utf-8")))
    assert named <= known, f"{page} names settings that there are not: {sorted(named - known)}"


@pytest.mark.parametrize(("chinese", "english"), CHINESE.items())
def test_a_page_in_chinese_shows_commands_of_the_english_one_in_its_order(chinese: str, english: str) -> None:
    """So each of them is run; the README shows some, the others all."""
    shown, run = ([command.text for command in run_commands(page)] for page in (chinese, english))
    rest = iter(run)
    assert all(command in rest for command in shown), f"{chinese} shows what {english} does not, or elsewhere"
    assert len(shown) >= 4
    if chinese.startswith("docs/"):
        assert shown == run
    assert [c.words for c in read_commands(chinese)] == [c.words for c in read_commands(english)]


@pytest.mark.parametrize("wrong", ["watch --fast", "lauch", "vote --method loudest", "plan", "data convert x --form y"])
def test_what_the_command_would_refuse_is_seen(wrong: str) -> None:
    with pytest.raises((click.ClickException, AssertionError)):
        parse(tuple(wrong.split()))
