"""`nonet init`: what it proposes for data of many kinds, and that `nonet plan` takes all of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from cli.errors import explain
from cli.main import nonet_command
from tests.cli_home import DEMO_BASE, row

DEMO = DEMO_BASE.parents[1] / "data" / "demo"


def nonet(folder: Path, *arguments: object) -> Result:
    whole = ["--home", str(folder / "home"), *map(str, arguments)]
    result = CliRunner().invoke(nonet_command, whole, standalone_mode=False)
    if result.exception is not None:
        explained = explain(result.exception)
        if explained is None:
            raise result.exception
        message, result.exit_code = explained
        result.stderr_bytes = (result.stderr_bytes or b"") + message.encode()
    return result


def rows(path: Path, names: str, answer: str = "AB", *, labelled: bool = True) -> Path:
    """A file with a problem for each letter of `names`; the same letters are the same stems."""
    lines = [json.dumps(row(name, answer, labelled=labelled)) for name in names]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def proposed(folder: Path, *arguments: object) -> dict[str, object]:
    """The batch that `nonet init` writes, after `nonet plan` has taken it."""
    out = folder / "batch.yaml"
    done = nonet(folder, "init", *arguments, "--out", out, "--base", DEMO_BASE)
    assert done.exit_code == 0, done.stderr
    assert f"nonet plan {out}" in done.stdout
    plan = nonet(folder, "plan", out, "--no-tokens")
    assert plan.exit_code == 0, plan.stderr
    found: dict[str, object] = yaml.safe_load(out.read_text("utf-8"))
    return found


def test_the_demos_data(here: Path) -> None:
    batch = proposed(here, DEMO)
    assert batch["mixes"] == {
        "all": {"use": ["official", "prelim", "extra"]},
        "all-80-s1": {"use": ["official", "prelim", "extra"], "sample": 0.8, "seed": 1},
        "all-80-s2": {"use": ["official", "prelim", "extra"], "sample": 0.8, "seed": 2},
        "all-prelim_hand": {"use": ["official", "prelim_hand", "extra"]},
        "without-prelim": {"use": ["official", "extra"]},
        "without-extra": {"use": ["official", "prelim"]},
    }
    assert batch["validation"] == {"source": "official", "fraction": 0.1, "seed": 0}
    text = (here / "batch.yaml").read_text("utf-8")
    assert "max_length: 256 # tokens; the longest prompt has 255, none is cut" in text
    assert "nonet score latest" in text
    assert "test_gold" not in str(batch)
    assert max(map(len, text.splitlines())) < 200


def test_who_answered_is_told_from_names_and_rows(here: Path) -> None:
    rows(here / "train.jsonl", "abcdef")
    rows(here / "gpt4.jsonl", "gh")
    rows(here / "train_72b.jsonl", "abcdef", "CB")
    pseudo = json.dumps(row("i", "A") | {"pseudo": {"run": "r-1", "vote": "v"}})
    (here / "again.jsonl").write_text(pseudo + "\n")
    rows(here / "test.jsonl", "xyz", labelled=False)
    batch = proposed(here)
    sources = batch["sources"]
    assert isinstance(sources, dict)
    assert {name: source["labels"] for name, source in sources.items()} == {
        "train": "gold",
        "gpt4": "model",
        "train_72b": "model",
        "again": "pseudo",
    }
    mixes = batch["mixes"]
    assert isinstance(mixes, dict)
    assert mixes["all"] == {"use": ["train", "gpt4", "again"]}
    assert mixes["all-train_72b"] == {"use": ["train_72b", "gpt4", "again"]}
    assert mixes["gold-only"] == {"use": ["train"]}


def test_a_file_that_shares_stems_with_the_test_is_left_out(here: Path) -> None:
    rows(here / "train.jsonl", "abcd")
    rows(here / "more.jsonl", "efx")
    rows(here / "test.jsonl", "xyz", labelled=False)
    batch = proposed(here)
    assert isinstance(batch["sources"], dict)
    assert list(batch["sources"]) == ["train"]
    assert "more.jsonl shares 1 stems with the test" in (here / "batch.yaml").read_text()


def test_few_rows_make_few_mixes(here: Path) -> None:
    rows(here / "train.jsonl", "a", "A")
    batch = proposed(here, here / "train.jsonl", rows(here / "test.jsonl", "x", labelled=False))
    assert batch["mixes"] == {"all": {"use": ["train"]}}
    assert "validation" not in batch


def test_names_that_yaml_would_read_otherwise(here: Path) -> None:
    folder = here / "数据 1"
    folder.mkdir()
    rows(folder / "on.jsonl", "abc")
    rows(folder / "1e3 数.jsonl", "de")
    rows(folder / "测试.jsonl", "x", labelled=False)
    batch = proposed(here, folder)
    assert isinstance(batch["sources"], dict)
    assert set(batch["sources"]) == {"on", "1e3"}


def test_without_a_base_here_one_is_named_and_nothing_measured(here: Path) -> None:
    rows(here / "train.jsonl", "abc")
    rows(here / "test.jsonl", "x", labelled=False)
    done = nonet(here, "init")
    assert done.exit_code == 0, done.stderr
    assert "nonet base fetch Qwen/" in done.stdout
    assert "not measured" in (here / "batch.yaml").read_text()


def test_what_is_there_is_kept_unless_forced(here: Path) -> None:
    rows(here / "train.jsonl", "abc")
    rows(here / "test.jsonl", "x", labelled=False)
    (here / "batch.yaml").write_text("mine")
    refused = nonet(here, "init")
    assert refused.exit_code == 3
    assert "--force" in refused.stderr
    assert (here / "batch.yaml").read_text() == "mine"
    assert nonet(here, "init", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no file of rows (*.jsonl)"),
        ({"train": True, "dev": True}, "--test FILE"),
        ({"one": False, "two": False, "train": True}, "several files have no answers: one.jsonl, two.jsonl"),
        ({"test": False}, "nothing is left to train on"),
    ],
)
def test_what_cannot_be_told_is_asked_for(here: Path, files: dict[str, bool], said: str) -> None:
    for at, (name, labelled) in enumerate(files.items()):
        rows(here / f"{name}.jsonl", "abcdefgh"[2 * at : 2 * at + 2], labelled=labelled)
    refused = nonet(here, "init")
    assert refused.exit_code == 3
    assert said in refused.stderr
    assert not (here / "batch.yaml").exists()


def test_the_test_can_be_named(here: Path) -> None:
    rows(here / "train.jsonl", "abc")
    rows(here / "dev.jsonl", "xy")
    batch = proposed(here, "--test", "dev.jsonl")
    assert isinstance(batch["inference"], dict)
    assert batch["inference"]["test"] == "dev.jsonl"


def test_defects_and_foreign_rows_are_told_before_anything_is_written(here: Path) -> None:
    rows(here / "train.jsonl", "aab")
    rows(here / "test.jsonl", "x", labelled=False)
    (here / "left-out.jsonl").write_text('{"place": "line 1", "row": {}}\n')
    refused = nonet(here, "init")
    assert refused.exit_code == 3
    assert "left-out.jsonl is passed over" in refused.stderr
    assert "train.jsonl: line 2, id: duplicate" in refused.stderr
    (here / "data.csv").write_text("question,A,B,C,D,answer\n")
    foreign = nonet(here, "init", here / "data.csv")
    assert "nonet data convert" in foreign.stderr
    assert not (here / "batch.yaml").exists()
