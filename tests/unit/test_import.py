"""`nonet import` and `adapters:` in a batch file, on homes that were made by hand: what is taken, what is refused."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from cli.exit_codes import ExitCode
from nonet.runs.plan import ADAPTERS, Plan, plan_from_json
from nonet.sharing import found as found_module
from nonet.sharing.checked import check_adapter
from nonet.sharing.commit import commit_import
from nonet.sharing.found import NotAnAdapterError, find_adapters
from tests.cli_home import CliHome, write_adapter
from tests.unit.packs import BATCH, unpacked


def submit(here: CliHome) -> Plan:
    done = here.call("submit", str(here.batch))
    assert done.exit_code == 0, done.stderr
    (run,) = here.home.runs.iterdir()
    return plan_from_json((run / "plan.json").read_bytes())


def test_an_imported_adapter_is_a_member_like_any_other(there: CliHome) -> None:
    planned = there.call("plan", str(there.batch), "--no-tokens")
    assert "imported: theirs" in planned.stdout
    assert "to train   0 of 1 adapter, 0 steps" in planned.stdout
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


def test_plans_without_imports_are_named_as_before(packed: tuple[CliHome, Plan]) -> None:
    here, plan = packed
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


def told(**values: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / "nonet.json").write_text(json.dumps(values))


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
        (told(base={"model": "theirs/base", "digest": "f" * 64}), "it was trained over 'theirs/base' (ffffffffffff)"),
        (lambda folder: shutil.rmtree(folder), "nothing is there, and it is no key"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "no adapter_config.json is there"),
    ],
)
def test_what_cannot_vote_is_refused_by_its_place(there: CliHome, harm: Callable[[Path], object], said: str) -> None:
    harm(there.folder / "theirs")
    refused = there.call("submit", str(there.batch))
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "line 4, adapters.theirs.import" in refused.stderr
    assert said in refused.stderr
    assert not there.home.root.exists(), "refused before anything is written"


def test_names_that_others_gave_are_fit_for_a_terminal(there: CliHome) -> None:
    told(name="[red]a\x1b[2J", run="b/../c")(there.folder / "theirs")
    planned = json.loads(there.call("plan", str(there.batch), "--no-tokens", "--json").stdout)
    assert planned["adapters"][0]["imported"] == "_red_a__2J of b_.._c"


def test_a_plan_says_where_an_import_was_trained_with_another_prompt(there: CliHome) -> None:
    told(prompt={"system": "another", "prefix": "答案是：", "answer": "letter"})(there.folder / "theirs")
    planned = there.call("plan", str(there.batch), "--no-tokens")
    assert "theirs was trained with another prompt: system" in planned.stdout


def test_an_adapter_of_a_hub_is_fetched_or_said_to_be_away(there: CliHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache as huggingface_hub lays it out; the tests run without the hub."""
    cache, commit = there.folder / "hub", "a" * 40
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    away = there.call("import", "ann/adapter")
    assert away.exit_code == ExitCode.BAD_INPUT
    assert "ann/adapter" in away.stderr
    (cache / "models--ann--adapter" / "refs").mkdir(parents=True)
    (cache / "models--ann--adapter" / "refs" / "main").write_text(commit)
    shutil.copytree(there.folder / "theirs", cache / "models--ann--adapter" / "snapshots" / commit)
    assert list(keys(there, "ann/adapter")) == ["adapter"]


def test_weights_that_change_while_they_are_imported_are_not_taken(there: CliHome) -> None:
    (adapter,) = (check_adapter(found) for found in find_adapters(there.folder / "theirs"))
    write_adapter(there.folder / "theirs", 9.0)
    with pytest.raises(NotAnAdapterError, match="has changed while it was imported"):
        commit_import(there.storage, adapter)
    assert not there.storage.committed(ADAPTERS)


def test_one_of_several_bases_wears_an_import(there: CliHome) -> None:
    """Its name says which, as those of mixes do; a base whose modules differ refuses it."""
    narrow = there.folder / "narrow"
    shutil.copytree(there.folder / "base", narrow)
    save_file({"layer.weight": numpy.ones((2, 3), numpy.float32)}, narrow / "model.safetensors")
    two = "bases:\n  big: {model: ./base}\n  small: {model: ./narrow}"
    text = BATCH.replace("base: {model: ./base}", two)
    there.batch.write_text(text)
    assert "Name the one that wears it: big, small" in there.call("plan", str(there.batch)).stderr
    there.batch.write_text(text.replace("theirs}", "theirs, base: small}"))
    assert "does not fit the base" in there.call("plan", str(there.batch)).stderr
    there.batch.write_text(text.replace("theirs}", "theirs, base: big}") + "vote: {select: [theirs@big]}\n")
    planned = json.loads(there.call("plan", str(there.batch), "--no-tokens", "--json").stdout)
    assert [(adapter["name"], adapter["base"]) for adapter in planned["adapters"]] == [("theirs@big", "big")]


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


def test_a_pack_that_is_damaged_is_refused_by_its_checksums(there: CliHome, pack: Path, tmp_path: Path) -> None:
    """Numbers that are still finite: nothing else could tell."""
    folder = unpacked(pack, tmp_path / "unpacked")
    weights_file = folder / "adapters" / "gold" / "adapter_model.safetensors"
    data = bytearray(weights_file.read_bytes())
    data[-3] ^= 1
    weights_file.write_bytes(data)
    whole = bytearray(pack.read_bytes())
    at = whole.index(
        unpacked(pack, tmp_path / "sound").joinpath("adapters/gold/adapter_model.safetensors").read_bytes()
    )
    whole[at + len(data) - 3] ^= 1
    (tmp_path / "damaged.tar").write_bytes(whole)
    for path in (folder, tmp_path / "damaged.tar"):
        refused = there.call("import", str(path))
        assert refused.exit_code == ExitCode.BAD_INPUT
        assert "adapters/gold: adapter_model.safetensors is not what SHA256SUMS says" in refused.stderr
    assert not there.home.root.exists(), "nothing of it is taken"


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
