"""`nonet export` on a home that was made by hand: what a pack holds, and what it hides."""

from __future__ import annotations

import hashlib
import socket
import tarfile
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from nonet.runs.plan import Plan
from nonet.sharing.public import public_text
from tests.cli_home import CliHome, write_files
from tests.unit.packs import unpacked


def test_the_same_run_is_the_same_pack_and_its_checksums_hold(
    packed: tuple[CliHome, Plan], pack: Path, tmp_path: Path
) -> None:
    here, plan = packed
    again, folder = tmp_path / "again.tar", tmp_path / "folder"
    assert here.call("export", "--to", str(again)).exit_code == 0
    assert again.read_bytes() == pack.read_bytes()
    assert here.call("export", plan.run, "--to", str(folder)).exit_code == 0
    top = unpacked(pack, tmp_path / "unpacked")
    assert top.name == plan.run
    files = {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}
    assert files == {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    sums = dict(line.split("  ")[::-1] for line in files.pop("SHA256SUMS").decode().splitlines())
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    wanted = {"README.md", "batch.yaml", "plan.json", "submission.jsonl", "score.json", "report.html"}
    assert wanted | {
        "adapters/both/adapter_model.safetensors",
        "ballots/gold.test.jsonl",
        "data/mixes/more.jsonl",
    } <= set(files)
    assert files["submission.jsonl"] == here.home.submission(plan.run, plan.submission).read_bytes()
    assert here.call("export", "--to", str(again)).exit_code == 0, "the same pack may stand there"
    again.write_bytes(b"another pack")
    for taken in (folder, again):
        refused = here.call("export", "--to", str(taken))
        assert refused.exit_code == ExitCode.USAGE
        assert "is there already" in refused.stderr
    assert again.read_bytes() == b"another pack"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.tar", "folder", "unpacked"]


def test_a_pack_names_no_path_host_or_worker(packed: tuple[CliHome, Plan], pack: Path) -> None:
    here, _ = packed
    data = pack.read_bytes()
    for hidden in (str(here.folder), "w0@here", '"here"', str(Path.home()), socket.gethostname() + ":"):
        assert hidden.encode() not in data, hidden
    with tarfile.open(pack) as archive:
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime, m.mode) for m in archive} == {(0, 0, "", "", 0, 0o644)}


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("base: {model: /data/ann/models/qwen}", "base: {model: qwen}"),
        ("path: ~/rows.jsonl, labels: gold", "path: rows.jsonl, labels: gold"),
        ("file:///srv/x/y.jsonl", "y.jsonl"),
        ("model: Qwen/Qwen2-7B-Instruct", "model: Qwen/Qwen2-7B-Instruct"),
        ("s3://me:secret@bucket/prefix", "s3://bucket/prefix"),
        ("../data/demo/test.jsonl 1/2 and/or", "../data/demo/test.jsonl 1/2 and/or"),
        ("<td>a</td><svg xmlns='http://www.w3.org/2000/svg'/>", "<td>a</td><svg xmlns='http://www.w3.org/2000/svg'/>"),
    ],
)
def test_paths_and_logins_are_cut(text: str, public: str) -> None:
    assert public_text(text) == public


def test_data_and_ballots_can_be_left_out(packed: tuple[CliHome, Plan], tmp_path: Path) -> None:
    here, _ = packed
    assert here.call("export", "--no-data", "--no-ballots", "--to", str(tmp_path / "small")).exit_code == 0
    names = {path.relative_to(tmp_path / "small").parts[0] for path in (tmp_path / "small").rglob("*")}
    assert names & {"data", "ballots", "report.html"} == set()
    text = b"".join(path.read_bytes() for path in (tmp_path / "small").rglob("*") if path.is_file())
    assert b"The stem of" not in text, "no row of any data"


def test_the_card_has_the_metadata_of_a_hub(pack: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(unpacked(pack, tmp_path) / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("peft", "text-generation")
    assert {"lora", "nonet"} <= set(card.data.tags)
    assert [(r.dataset_split, r.metric_value) for r in card.data.eval_results] == [("validation", 0.5), ("test", 0.5)]
    for text in (
        "| both | official 2 (gold) + extra 3 (model) | 7 |",
        "0.5000 (0.188-0.812), 3 of 6",
        "rank",
        "答案是：",
    ):
        assert text in card.content
    assert "base_model" not in card.data.to_dict(), "a base that is a folder has no name on a hub"


def test_a_run_without_adapters_cannot_be_packed(tmp_path: Path) -> None:
    here = CliHome(tmp_path, write_files(tmp_path))
    here.submit()
    refused = here.call("export", "--to", str(tmp_path / "x.tar"))
    assert refused.exit_code == ExitCode.BLOCKED
    assert "has no adapter yet" in refused.stderr
    assert not (tmp_path / "x.tar").exists()
