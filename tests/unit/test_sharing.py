"""`nonet export` and `import` on homes that were made by hand: what a pack holds and hides, what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socket
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from cli.exit_codes import ExitCode
from nonet.plan import ADAPTERS, Plan, plan_from_json
from nonet.sharing import found as found_module
from nonet.sharing.public import public_text
from tests.cli_home import CliHome, write_adapter, write_files

BATCH = """\
name: guests
base: {model: ./base}
adapters:
  theirs: {import: theirs}
inference: {test: test.jsonl, shard_size: 2}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[CliHome, Plan]:
    """A finished run, not to be changed."""
    folder = tmp_path_factory.mktemp("exporting")
    here = CliHome(folder, write_files(folder))
    plan = here.finish({"both": "A", "gold": "A", "more": "B"})
    assert here.call("score", plan.run, str(folder / "gold.jsonl")).exit_code == 0
    return here, plan


@pytest.fixture(scope="module")
def pack(home: tuple[CliHome, Plan]) -> Path:
    here, _ = home
    path = here.folder / "pack.tar"
    assert here.call("export", "--to", str(path)).exit_code == 0
    return path


@pytest.fixture
def there(tmp_path: Path) -> CliHome:
    """Another home, with a batch file that imports the folder `theirs`."""
    write_files(tmp_path)
    (tmp_path / "theirs").mkdir()
    write_adapter(tmp_path / "theirs")
    (tmp_path / "guests.yaml").write_text(BATCH)
    return CliHome(tmp_path, tmp_path / "guests.yaml")


def unpacked(pack: Path, folder: Path) -> Path:
    with tarfile.open(pack) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


def test_the_same_run_is_the_same_pack_and_its_checksums_hold(
    home: tuple[CliHome, Plan], pack: Path, tmp_path: Path
) -> None:
    here, plan = home
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
    refused = here.call("export", "--to", str(folder))
    assert refused.exit_code == ExitCode.USAGE
    assert "is there already" in refused.stderr


def test_a_pack_names_no_path_host_or_worker(home: tuple[CliHome, Plan], pack: Path) -> None:
    here, _ = home
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


def test_data_and_ballots_can_be_left_out(home: tuple[CliHome, Plan], tmp_path: Path) -> None:
    here, _ = home
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


def submit(here: CliHome) -> Plan:
    done = here.call("submit", str(here.batch))
    assert done.exit_code == 0, done.stderr
    (run,) = here.home.runs.iterdir()
    return plan_from_json((run / "plan.json").read_bytes())


def test_an_imported_adapter_is_a_member_like_any_other(there: CliHome) -> None:
    planned = there.call("plan", str(there.batch), "--no-tokens")
    assert "imported: theirs" in planned.stdout
    assert "0 of 1 adapters" in planned.stdout
    assert not there.home.root.exists(), "a plan writes nothing"
    plan = submit(there)
    (adapter,) = plan.adapters
    assert adapter.imported is not None
    assert (adapter.name, adapter.imported.rank, adapter.input) == ("theirs", 1, "")
    assert there.storage.has(ADAPTERS, adapter.key)
    assert "imported" in there.call("status").stdout
    there.answer(plan, {"theirs": "B"})
    there.vote(plan)
    for command in ("verify", "explain", "report", "logbook"):
        done = there.call(command)
        assert done.exit_code == 0, (command, done.stdout, done.stderr)
    assert "imported: theirs" in there.home.report(plan.run).read_text()
    assert there.call("explain", plan.run, "t1#0").exit_code == 0
    assert "imported: theirs" in there.call("vote").stdout
    assert there.call("status").exit_code == 0


def test_imports_stand_beside_mixes_and_other_bases_make_other_cells(there: CliHome) -> None:
    own = (there.folder / "batch.yaml").read_text()
    there.batch.write_text(own + "adapters: {theirs: {import: theirs}}\n")
    plan = submit(there)
    assert [adapter.name for adapter in plan.adapters] == ["both", "gold", "more", "theirs"]
    theirs, shard = plan.adapters[-1], plan.shards[0]
    other = replace(plan.bases[0], model=replace(plan.bases[0].model, digest="0" * 64))
    moved = replace(plan, bases=(other,))
    assert moved.cell_key(theirs, shard) != plan.cell_key(theirs, shard)
    assert moved.cell_key(plan.adapters[0], shard) == plan.cell_key(plan.adapters[0], shard), "its own key has the base"


def test_plans_without_imports_are_named_as_before(home: tuple[CliHome, Plan]) -> None:
    here, plan = home
    raw = json.loads(here.home.plan(plan.run).read_bytes())
    assert all("imported" not in adapter for adapter in raw["adapters"])


def keys(here: CliHome, *arguments: str) -> dict[str, str]:
    done = here.call("import", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return {adapter["name"]: adapter["key"] for adapter in json.loads(done.stdout)["adapters"]}


def test_a_pack_a_folder_and_a_key_name_the_same_adapter(there: CliHome, pack: Path, tmp_path: Path) -> None:
    whole = keys(there, str(pack))
    assert set(whole) == {"both", "gold", "more"}
    folder = unpacked(pack, tmp_path / "unpacked")
    assert keys(there, str(folder)) == whole
    assert keys(there, str(folder / "adapters" / "gold"), "--base", str(there.folder / "base")) == {
        "gold": whole["gold"]
    }
    printed = there.call("import", str(pack), "--adapter", "gold").stdout
    assert "known already, rank 1, gold of hand-" in printed
    plans = []
    for named in (f"{{import: {pack}, adapter: gold}}", f"{{import: {whole['gold'][:16]}}}"):
        there.batch.write_text(BATCH.replace("{import: theirs}", named))
        plans.append(json.loads(there.call("plan", str(there.batch), "--no-tokens", "--json").stdout))
    assert plans[0]["run"] == plans[1]["run"]
    assert plans[0]["adapters"][0]["imported"].startswith("gold of hand-")


def config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def weights(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        held = {
            "base_model.model.layer.lora_A.weight": changes.get("a", numpy.ones((1, 4), numpy.float32)),
            "base_model.model.layer.lora_B.weight": changes.get("b", numpy.ones((2, 1), numpy.float32)),
        }
        save_file(held | changes.get("more", {}), folder / "adapter_model.safetensors")

    return change


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def told(**values: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / "nonet.json").write_text(json.dumps(values)) and None  # type: ignore[func-returns-value]


def truncated(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (config(peft_type="IA3"), "only LoRA adapters can be used"),
        (config(r="8"), "r is '8'"),
        (config(use_dora=True), "use_dora is True, which not every engine can do"),
        (config(rank_pattern={"layer": 4}), "rank_pattern"),
        (config(modules_to_save=["lm_head"]), "modules_to_save"),
        (config(bias="all"), "adapters that change biases"),
        (config(init_lora_weights="pissa"), "trained over a changed base"),
        (config(target_modules="all-linear"), "names of its modules as a list"),
        (config(target_modules=["other"]), "the base has none of the modules other"),
        (config(r=2), "lora_A.weight has the shape (1, 4), the base needs (2, 4)"),
        (weights(a=numpy.ones((1, 5), numpy.float32)), "the base needs (1, 4)"),
        (weights(a=numpy.full((1, 4), numpy.nan, numpy.float32)), "not finite"),
        (weights(a=numpy.full((1, 4), numpy.inf, numpy.float16)), "not finite"),
        (weights(a=numpy.ones((1, 4), numpy.int32)), "holds I32"),
        (weights(more={"lm_head.weight": numpy.ones(2, numpy.float32)}), "lm_head.weight is not of a module"),
        (pickled, "only safetensors are read, no pickles"),
        (truncated, "is damaged or no safetensors file"),
        (told(base={"model": "theirs/base", "digest": "f" * 64}), "it was trained over theirs/base (ffffffffffff)"),
        (lambda folder: shutil.rmtree(folder), "nothing is there, and it is no key"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "no adapter_config.json is there"),
    ],
)
def test_what_cannot_vote_is_refused_by_its_place(there: CliHome, harm: Callable[[Path], None], said: str) -> None:
    harm(there.folder / "theirs")
    refused = there.call("submit", str(there.batch))
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "line 4, adapters.theirs.import" in refused.stderr
    assert said in refused.stderr
    assert not there.home.root.exists(), "refused before anything is written"


def test_another_base_can_be_allowed(there: CliHome) -> None:
    told(base={"model": "theirs/base", "digest": "f" * 64})(there.folder / "theirs")
    there.batch.write_text(BATCH.replace("theirs}", "theirs, allow_other_base: true}"))
    assert there.call("plan", str(there.batch), "--no-tokens").exit_code == 0
    alone = there.call("import", str(there.folder / "theirs"), "--base", str(there.folder / "base"))
    assert alone.exit_code == ExitCode.BAD_INPUT
    assert "it was trained over ffffffffffff" in alone.stderr


def test_a_leak_is_found_by_what_the_pack_says(there: CliHome, pack: Path) -> None:
    """The pack's members were trained on the stems of official.jsonl; here that is the test."""
    batch = BATCH.replace("{import: theirs}", f"{{import: {pack}, adapter: gold}}")
    there.batch.write_text(batch.replace("test.jsonl", "official.jsonl"))
    refused = there.call("plan", str(there.batch), "--no-tokens")
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "it was trained on 2 stems of the test" in refused.stderr
    there.batch.write_text(there.batch.read_text().replace("adapter: gold", "adapter: gold, allow_leak: true"))
    allowed = json.loads(there.call("plan", str(there.batch), "--no-tokens", "--json").stdout)
    assert allowed["adapters"][0]["leaked"] == 2


@pytest.mark.parametrize(
    ("entry", "place", "said"),
    [
        ("theirs: {import: PACK}", "theirs.import", "holds 3 adapters; say which, as adapter: both, gold, more"),
        ("theirs: {import: PACK, adapter: none}", "theirs.import", "holds no adapter 'none'"),
        ("a: {import: theirs}\n  b: {import: theirs}", "b.import", "it is the same adapter as 'a'"),
        ("theirs: {import: theirs, base: big}", "theirs.base", "no base has this name"),
        ("theirs: {import: 0123456789abcdef}", "theirs.import", "no imported adapter has a key"),
        ("theirs: {path: theirs}", "theirs.import", "the key is missing"),
        ("both: {import: theirs}", "both", "a mix has this name"),
        ("own: {import: PACK, adapter: gold}", "own.import", "it is the adapter of the mix 'gold'"),
    ],
)
def test_entries_that_cannot_be_are_refused(there: CliHome, pack: Path, entry: str, place: str, said: str) -> None:
    own = (there.folder / "batch.yaml").read_text()
    there.batch.write_text(f"{own}adapters:\n  {entry.replace('PACK', str(pack))}\n")
    refused = there.call("plan", str(there.batch), "--no-tokens")
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert f"adapters.{place}: " in refused.stderr
    assert said in refused.stderr


def test_a_batch_needs_a_member(there: CliHome) -> None:
    there.batch.write_text("name: none\nbase: {model: ./base}\ninference: {test: test.jsonl}\n")
    refused = there.call("plan", str(there.batch))
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "mixes: the key is missing" in refused.stderr


def archive(path: Path, *members: tuple[str, bytes | None]) -> Path:
    """A tar of files; one without content is a link."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            if data is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            member.size = len(data or b"")
            tar.addfile(member, io.BytesIO(data or b""))
    return path


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("p/adapters/x/adapter_config.json", None)], "is a link or a device"),
        ([("../adapters/x/adapter_config.json", b"{}")], "leads out of it"),
        ([("/adapters/x/adapter_config.json", b"{}")], "leads out of it"),
        ([("p/adapters/x y/adapter_config.json", b"{}")], "not a name"),
        ([("p/adapters/x/adapter_config.json", b"{}")], "adapter_model.safetensors is missing"),
        ([("p/adapters/x/adapter_config.json", b"{}")] * 2, "is there twice"),
        (
            [("p/adapters/x/adapter_config.json", b"{" * 30), ("p/adapters/x/adapter_model.safetensors", b"")],
            "not JSON",
        ),
        ([("p/readme", b"")], "no adapter_config.json is there"),
    ],
)
def test_archives_that_are_no_packs_are_refused(
    there: CliHome, tmp_path: Path, members: list[tuple[str, bytes | None]], said: str
) -> None:
    refused = there.call("import", str(archive(tmp_path / "x.tar", *members)))
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert said in refused.stderr
    assert not there.home.root.exists()


def test_what_is_larger_than_an_adapter_is_not_read(
    there: CliHome, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(found_module.MOST_BYTES, "adapter_model.safetensors", 100)
    for path in (there.folder / "theirs", pack):
        refused = there.call("import", str(path))
        assert refused.exit_code == ExitCode.BAD_INPUT
        assert "more than the 100 that are read" in refused.stderr
    assert there.call("import", str(there.folder / "nowhere")).exit_code == ExitCode.NOT_FOUND
    (there.folder / "x.tar").write_bytes(b"no tar" * 100)
    assert "not a plain tar" in there.call("import", str(there.folder / "x.tar")).stderr
