"""`nonet verify`: a sound run passes; whatever is damaged is named with its file and what to do about it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from nonet.runs.plan import ADAPTERS, VOTES, Plan, plan_from_json
from nonet.stores.storage import Storage
from tests.cli_home import CliHome, write_files

LETTERS = {"both": "A", "gold": "A", "more": "B"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> CliHome:
    """A finished run, not to be changed: tests copy it."""
    folder = tmp_path_factory.mktemp("sound")
    here = CliHome(folder, write_files(folder))
    plan = here.finish(LETTERS)
    assert here.call("score", plan.run, str(folder / "gold.jsonl")).exit_code == 0
    return here


@pytest.fixture
def here(sound: CliHome, tmp_path: Path) -> CliHome:
    shutil.copytree(sound.folder / "home", tmp_path / "home")
    return CliHome(tmp_path, sound.batch)


def plan_of(here: CliHome) -> Plan:
    (run,) = here.home.runs.iterdir()
    return plan_from_json((run / "plan.json").read_bytes())


def verified(here: CliHome, code: ExitCode) -> list[dict[str, str]]:
    """The checks that did not pass."""
    done = here.call("verify", "--json")
    whole = json.loads(done.stdout)
    assert done.exit_code == code, whole
    assert whole["sound"] is (code is ExitCode.DONE)
    return [check for check in whole["checks"] if check["outcome"] != "pass"]


def test_a_sound_run_passes_everything(here: CliHome) -> None:
    assert verified(here, ExitCode.DONE) == []
    printed = here.call("verify").stdout
    kinds = ["plan", "inputs", "keys", "base", "adapters", "ballots", "vote", "submission", "manifest", "score"]
    assert all(f"{kind}: " in printed for kind in kinds), printed
    assert printed.splitlines()[-1].endswith(": sound")


def test_a_run_that_goes_on_is_missing_something(here: CliHome) -> None:
    other = here.batch.read_text().replace("epochs: 2", "epochs: 3")
    batch = here.folder / "other.yaml"
    for path in here.batch.parent.iterdir():
        if path.suffix == ".jsonl":
            shutil.copy(path, here.folder)
    shutil.copytree(here.batch.parent / "base", here.folder / "base")
    batch.write_text(other)
    assert here.call("submit", str(batch)).exit_code == 0
    found = verified(here, ExitCode.BLOCKED)
    assert {check["outcome"] for check in found} == {"missing"}
    assert {check["what"] for check in found} == {"adapters", "ballots", "vote", "submission"}
    assert all("nonet status" in check["remedy"] or "fleet" in check["remedy"] for check in found)


def flip(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def damage_plan(here: CliHome, plan: Plan) -> Path:
    flip(path := here.home.plan(plan.run), b'"method": "majority"', b'"method": "weighted"')
    return path


def damage_test(here: CliHome, plan: Plan) -> Path:
    flip(path := here.home.input(plan.inputs["test"]), b"stem of t1", b"Stem of t1")
    return path


def damage_mix(here: CliHome, plan: Plan) -> Path:
    (path := here.home.input(plan.adapters[0].input)).unlink()
    return path


def damage_weights(here: CliHome, plan: Plan) -> Path:
    commit = here.storage.record(ADAPTERS, plan.adapters[1].key)
    assert commit is not None
    path = here.storage.path(commit.files["adapter_model.safetensors"])
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    return path


def damage_ballot(here: CliHome, plan: Plan) -> Path:
    cell = plan.cells[-1]
    flip(path := here.home.commits(cell.scope) / f"{cell.key}.json", b'"letter":"B"', b'"letter":"A"')
    return path


def damage_vote(here: CliHome, plan: Plan) -> Path:
    (path,) = here.home.commits(VOTES).iterdir()
    flip(path, b'"abstentions":0', b'"abstentions":1')
    return path


def damage_submission(here: CliHome, plan: Plan) -> Path:
    flip(path := here.home.submission(plan.run, plan.submission), b'"A"', b'"B"')
    return path


def damage_order(here: CliHome, plan: Plan) -> Path:
    path = here.home.submission(plan.run, plan.submission)
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))
    return path


def damage_manifest(here: CliHome, plan: Plan) -> Path:
    flip(path := here.home.manifest(plan.run, plan.submission), b'"abstentions": 0', b'"abstentions": 7')
    return path


def damage_score(here: CliHome, plan: Plan) -> Path:
    flip(path := here.home.score(plan.run), b'"correct": 3', b'"correct": 4')
    return path


@pytest.mark.parametrize(
    ("damage", "what", "told"),
    [
        (damage_plan, "plan", "it was changed"),
        (damage_test, "inputs", "(test)"),
        (damage_mix, "inputs", "(mix both)"),
        (damage_weights, "adapters", "does not match its checksum"),
        (damage_ballot, "ballots", "does not match its checksum"),
        (damage_vote, "vote", "does not match its checksum"),
        (damage_submission, "submission", "says B on t0#0, the ballots say A"),
        (damage_order, "submission", "it has t3#0 where the test has t0#0"),
        (damage_manifest, "manifest", "abstentions"),
        (damage_score, "score", "says 4 of 6, it is 3 of 6"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_damage_is_named(here: CliHome, damage: Callable[[CliHome, Plan], Path], what: str, told: str) -> None:
    plan = plan_of(here)
    path = damage(here, plan)
    found = [check for check in verified(here, ExitCode.STORAGE) if check["outcome"] == "fail"]
    assert what in {check["what"] for check in found}
    naming = [check for check in found if path.name in check["text"] or path.stem in check["text"]]
    assert naming, found
    assert any(told in check["text"] for check in found), found
    assert all(check["remedy"] for check in found)
    assert not here.home.quarantine.exists(), "verify changes nothing"
    printed = here.call("verify")
    assert printed.exit_code == ExitCode.STORAGE
    assert f"FAIL       {what}" in printed.stdout


def test_ballots_that_miss_or_repeat_a_question_are_named(here: CliHome) -> None:
    plan = plan_of(here)
    cell = next(c for c in plan.cells if c.name == "gold/test-000")
    commit = here.storage.read(cell.scope, cell.key)
    assert commit is not None
    (here.home.commits(cell.scope) / f"{cell.key}.json").unlink()
    ballots = list(commit.body["ballots"])
    twice = {**commit.body, "ballots": [ballots[0], ballots[0], *ballots[2:]]}
    here.storage.publish(cell.scope, cell.key, 2, body=twice)
    (check,) = [check for check in verified(here, ExitCode.STORAGE) if check["outcome"] == "fail"]
    assert (check["what"], "1 answered twice: t0#0" in check["text"]) == ("ballots", True)


def test_an_adapter_of_another_base_is_named(here: CliHome) -> None:
    plan = plan_of(here)
    key = plan.adapters[0].key
    commit = here.storage.read(ADAPTERS, key)
    assert commit is not None
    (here.home.commits(ADAPTERS) / f"{key}.json").unlink()
    folder = here.storage.staging(key, 2)
    for name, stored in commit.files.items():
        shutil.copy(here.storage.path(stored), folder / name)
    body = {**commit.body, "base": {**commit.body["base"], "digest": "0" * 64}}
    here.storage.publish(ADAPTERS, key, 2, folder=folder, body=body)
    found = [check for check in verified(here, ExitCode.STORAGE) if check["outcome"] == "fail"]
    assert ["trained over the base 000000000000" in check["text"] for check in found] == [True]


def test_a_base_that_is_not_here_is_no_failure(here: CliHome, sound: CliHome) -> None:
    aside = sound.folder / "base-away"
    os.rename(sound.folder / "base", aside)
    try:
        (check,) = verified(here, ExitCode.DONE)
        assert (check["outcome"], check["what"]) == ("unchecked", "base")
        (sound.folder / "base").mkdir()
        for path in aside.iterdir():
            shutil.copy(path, sound.folder / "base")
        (sound.folder / "base" / "model.safetensors").write_bytes(b"others!")
        (check,) = verified(here, ExitCode.STORAGE)
        assert (check["outcome"], "the run was planned with" in check["text"]) == ("fail", True)
    finally:
        shutil.rmtree(sound.folder / "base", ignore_errors=True)
        os.rename(aside, sound.folder / "base")


def test_a_storage_that_cannot_be_written_will_do(here: CliHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to write is barred; root ignores the file system's permissions."""

    def barred(*_: object, **__: object) -> None:
        raise AssertionError("verify wrote")

    for name in ("create", "replace", "delete", "commit", "fence", "set_aside", "put_folder", "remove_folder", "sweep"):
        monkeypatch.setattr(type(here.home.store), name, barred)
    damage_ballot(here, plan_of(here))
    assert here.call("verify").exit_code == ExitCode.STORAGE


def test_storage_examines_without_setting_aside(here: CliHome) -> None:
    plan = plan_of(here)
    damage_ballot(here, plan)
    storage, cell = Storage(here.home), plan.cells[-1]
    with pytest.raises(Exception, match="does not match its checksum"):
        storage.examine(cell.scope, cell.key)
    assert storage.has(cell.scope, cell.key)
    with pytest.raises(Exception, match="set aside, it will be computed again"):
        storage.read(cell.scope, cell.key)
    assert not storage.has(cell.scope, cell.key)
