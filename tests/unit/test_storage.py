"""Storage: first commit wins, nothing torn is seen, damage is noticed and set aside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nonet.stores.atomic import create_file, replace_file
from nonet.stores.home import Home, checked_name
from nonet.stores.storage import DamagedError, Published, Storage

KEY = "a" * 64


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(Home(tmp_path))


def publish_folder(storage: Storage, epoch: int, content: bytes) -> Published:
    folder = storage.staging(KEY, epoch)
    (folder / "weights").write_bytes(content)
    return storage.publish("adapters", KEY, epoch, folder=folder, body={"epoch": epoch})


def test_first_commit_wins(storage: Storage) -> None:
    assert publish_folder(storage, 1, b"first") is Published.COMMITTED
    assert publish_folder(storage, 2, b"second") is Published.ALREADY
    commit = storage.read("adapters", KEY)
    assert commit is not None
    assert commit.epoch == 1
    assert storage.path(commit.files["weights"]).read_bytes() == b"first"
    assert len(list(storage.home.blob(KEY).iterdir())) == 1, "the loser's files are removed"


def test_racing_publishers_give_one_commit(tmp_path: Path) -> None:
    def publish(epoch: int) -> Published:
        return publish_folder(Storage(Home(tmp_path)), epoch, b"%d" % epoch)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(publish, range(1, 25)))
    assert results.count(Published.COMMITTED) == 1
    winner = results.index(Published.COMMITTED) + 1
    commit = Storage(Home(tmp_path)).read("adapters", KEY)
    assert commit is not None
    assert commit.epoch == winner


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_damaged_file_is_set_aside(storage: Storage, damage: str) -> None:
    publish_folder(storage, 1, b"weights of an adapter")
    commit = storage.read("adapters", KEY)
    assert commit is not None
    path = storage.path(commit.files["weights"])
    match damage:
        case "flip":
            path.write_bytes(b"Weights of an adapter")
        case "truncate":
            path.write_bytes(b"weights")
        case "delete":
            path.unlink()
    with pytest.raises(DamagedError, match="set aside"):
        Storage(storage.home).read("adapters", KEY)
    assert not storage.has("adapters", KEY)
    assert len(list(storage.home.quarantine.iterdir())) == 1
    assert publish_folder(storage, 2, b"weights again") is Published.COMMITTED


def test_damaged_record_is_set_aside(storage: Storage) -> None:
    storage.publish("votes", KEY, 1, body={"letter": "A"})
    record = storage.home.commits("votes") / f"{KEY}.json"
    record.write_bytes(record.read_bytes().replace(b'"A"', b'"B"'))
    with pytest.raises(DamagedError):
        storage.read("votes", KEY)
    assert storage.committed("votes") == frozenset()


def test_record_cannot_name_files_outside_the_home(storage: Storage, tmp_path: Path) -> None:
    from nonet.stores.key import canonical, digest, file_digest

    outside = tmp_path.parent / "outside"
    outside.write_bytes(b"secret")
    files = {"x": {"path": "../outside", "size": 6, "sha256": file_digest(outside)}}
    record = {"schema": 1, "scope": "adapters", "key": KEY, "epoch": 1, "files": files, "body": {}}
    record["sha256"] = digest(canonical(record))
    create_file(storage.home.commits("adapters") / f"{KEY}.json", canonical(record))
    with pytest.raises(DamagedError, match="outside the home"):
        storage.read("adapters", KEY)
    assert outside.read_bytes() == b"secret"


def test_killed_writer_leaves_nothing_visible(tmp_path: Path) -> None:
    """A process that is killed between writing and linking leaves a part file that no listing shows."""
    code = (
        "import os, sys; from pathlib import Path; import nonet.stores.atomic as a\n"
        "os.link = lambda *x: os.kill(os.getpid(), 9)\n"
        "from nonet.stores.storage import Storage; from nonet.stores.home import Home\n"
        f"Storage(Home(Path(sys.argv[1]))).publish('votes', '{KEY}', 1, body={{'n': 1}})\n"
    )
    root = str(Path(__file__).parents[2])
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=os.environ | {"PYTHONPATH": root}, check=False
    )
    storage = Storage(Home(tmp_path))
    assert killed.returncode == -9
    assert len(list(storage.home.commits("votes").iterdir())) == 1
    assert storage.committed("votes") == frozenset()
    assert storage.publish("votes", KEY, 2, body={"n": 2}) is Published.COMMITTED


def test_replace_and_create(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    assert create_file(path, b"one")
    assert not create_file(path, b"two")
    assert path.read_bytes() == b"one"
    replace_file(path, b"three")
    assert path.read_bytes() == b"three"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_inputs_are_addressed_by_content(storage: Storage) -> None:
    name = storage.put_input(b"rows\n")
    assert storage.put_input(b"rows\n") == name
    assert storage.read_input(name) == b"rows\n"
    storage.home.input(name).write_bytes(b"other")
    with pytest.raises(DamagedError, match="does not match"):
        storage.read_input(name)
    storage.put_input(b"rows\n")
    assert storage.read_input(name) == b"rows\n"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a..b", "x" * 129, "ü", "a\n", "a b"])
def test_names_cannot_leave_the_home(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        checked_name(name)


def test_record_is_plain_json(storage: Storage) -> None:
    storage.publish("votes", KEY, 3, body={"答": "案"})
    record = json.loads((storage.home.commits("votes") / f"{KEY}.json").read_bytes())
    assert record["epoch"] == 3
    assert record["body"] == {"答": "案"}
