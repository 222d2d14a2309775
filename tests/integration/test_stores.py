"""The contract of a store, kept by both: a POSIX folder, and an S3-compatible server that is spoken to over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from nonet.runs.attempt import Attempts, Outcome
from nonet.stores.address import home_at
from nonet.stores.atomic import PART
from nonet.stores.home import Home
from nonet.stores.storage import DamagedError, Published, Storage
from nonet.stores.store import Store
from tasks.waiting import is_away
from tests.s3_server import BUCKET, CREDENTIALS, S3Server

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
KEY = "a" * 64
RACERS = 4
BEAT = 0.03
"""Seconds between two races."""
Machine = Callable[[str], Home]
"""The home as the machine of this name sees it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with pytest.MonkeyPatch.context() as patch, S3Server(tmp_path_factory.mktemp("s3")) as server:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(params=["posix", "s3"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    if request.param == "posix":
        return lambda _name: Home(tmp_path / "home")
    endpoint = request.getfixturevalue("server").endpoint
    address = f"s3://{BUCKET}/{tmp_path.name}"
    return lambda name: home_at(address, cache=tmp_path / name, endpoint=endpoint)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(RACERS, mp_context=get_context("fork")) as pool:
        yield pool


def test_small_files(machine: Machine) -> None:
    store, other, root = machine("one").store, machine("two").store, machine("one").root
    path, seen = root / "runs" / "r" / "plan.json", machine("two").root / "runs" / "r" / "plan.json"
    assert not store.exists(path)
    assert not store.holds(root / "runs")
    with pytest.raises(FileNotFoundError):
        store.read(path)
    with pytest.raises(FileNotFoundError):
        store.stamp(path)
    assert store.create(path, b"first")
    assert not store.create(path, b"second")
    assert other.read(seen) == b"first"
    assert other.exists(seen)
    stamp = other.stamp(seen)
    store.replace(path, b"the second one")
    assert other.read(seen, 4) == b"second one"
    assert other.read(seen, 99) == b""
    assert other.stamp(seen) != stamp
    assert abs(other.modified(seen) - time.time()) < 60
    assert store.holds(root / "runs")
    assert store.names(root) == ["runs"]
    assert store.names(root / "runs" / "r") == ["plan.json"]
    assert store.names(root / "nowhere") == []
    assert "plan.json" in store.place(path)
    store.delete(path)
    store.delete(path)
    assert other.names(seen.parent) == []


def together(rounds: int, start: float) -> Iterator[int]:
    """Numbers from 0, at the same moments in every process that counts from the same `start`."""
    for n in range(rounds):
        time.sleep(max(0.0, start + n * BEAT - time.time()))
        yield n


def creating(home: Home, racer: int, start: float) -> list[bool]:
    return [home.store.create(home.root / "race" / str(n), b"%d" % racer) for n in together(10, start)]


def test_create_is_exclusive_among_processes(machine: Machine, processes: ProcessPoolExecutor) -> None:
    homes = [machine(str(n)) for n in range(RACERS)]
    won = list(processes.map(creating, homes, range(RACERS), [time.time() + 1] * RACERS))
    for n, firsts in enumerate(zip(*won, strict=True)):
        assert sum(firsts) == 1
        assert homes[0].store.read(homes[0].root / "race" / str(n)) == b"%d" % firsts.index(True)


SIZE = 100_000


def replacing(home: Home, _racer: int) -> set[bytes]:
    path, found = home.root / "replaced", set()
    for n in range(6):
        home.store.replace(path, bytes([65 + n]) * SIZE)
        data = home.store.read(path)
        assert len(data) == SIZE
        found.update({data[:1], data[-1:], data[SIZE // 2 :][:1]} if len(set(data)) > 1 else {data[:1]})
        assert len(set(data)) == 1, "torn"
    return found


def test_replace_is_whole_among_processes(machine: Machine, processes: ProcessPoolExecutor) -> None:
    found = set().union(*processes.map(replacing, [machine(str(n)) for n in range(RACERS)], range(RACERS)))
    assert found <= {bytes([65 + n]) for n in range(6)}


def committing(home: Home, racer: int, start: float) -> list[Published]:
    records = (home.commits("adapters") / f"{n}.json" for n in together(6, start))
    return [home.store.commit(record, b'{"of": %d}' % racer, racer + 1, lambda: True) for record in records]


def test_first_commit_wins_among_processes(machine: Machine, processes: ProcessPoolExecutor) -> None:
    homes = [machine(str(n)) for n in range(RACERS)]
    results = list(processes.map(committing, homes, range(RACERS), [time.time() + 1] * RACERS))
    for n, published in enumerate(zip(*results, strict=True)):
        assert published.count(Published.COMMITTED) == 1
        assert published.count(Published.ALREADY) == RACERS - 1
        found = homes[0].store.read(homes[0].commits("adapters") / f"{n}.json")
        assert found == b'{"of": %d}' % published.index(Published.COMMITTED)


def test_a_fence_bars_what_is_under_way(machine: Machine) -> None:
    """The older epoch has looked, then stands still until the newer one has begun."""
    old, new = machine("one"), machine("two")
    record, seen = old.commits("adapters") / f"{KEY}.json", new.commits("adapters") / f"{KEY}.json"

    def overtaken(epoch: int) -> Callable[[], bool]:
        def current() -> bool:
            new.store.fence(seen, epoch)
            return True

        return current

    for epoch in (1, 2, 3):
        old.store.fence(record, epoch)
        assert old.store.commit(record, b"{}", epoch, overtaken(epoch + 1)) is Published.STALE
        assert not new.store.exists(seen)
        assert new.store.names(seen.parent) == [], "a fence is no file"
        with pytest.raises(FileNotFoundError):
            new.store.read(seen)
    assert old.store.commit(record, b"{}", 4, lambda: False) is Published.STALE
    assert new.store.commit(seen, b'{"by": 4}', 4, lambda: True) is Published.COMMITTED
    assert new.store.commit(seen, b'{"by": 4}', 4, lambda: True) is Published.COMMITTED, "the same again"
    assert old.store.commit(record, b'{"by": 5}', 5, lambda: True) is Published.ALREADY
    old.store.fence(record, 5)
    assert old.store.read(record) == b'{"by": 4}', "a fence leaves a commit as it is"
    assert old.store.names(record.parent) == [f"{KEY}.json"]


def overtaking(home: Home, first: bool, start: float) -> list[tuple[Published | None, bool]]:
    """One commits at epoch 1, unless epoch 2 has begun; the other begins epoch 2, fences and looks."""
    attempts = Attempts(home)
    found: list[tuple[Published | None, bool]] = []
    for n in together(12, start):
        key, record = f"k{n}", home.commits("adapters") / f"{n}.json"
        if first:
            published = home.store.commit(record, b"{}", 1, lambda key=key: attempts.latest(key) < 2)  # type: ignore[misc]
            found.append((published, False))
        else:
            home.store.create(home.attempts(key) / "0002.json", b"{}")
            home.store.fence(record, 2)
            found.append((None, home.store.exists(record)))
    return found


def test_commit_and_fence_at_the_same_moment(machine: Machine, processes: ProcessPoolExecutor) -> None:
    """Whatever the newer epoch sees after its fence stays so: what was not committed then, never will be."""
    homes = (machine("one"), machine("two"))
    first, second = processes.map(overtaking, homes, [True, False], [time.time() + 1] * 2)
    for (published, _), (_, seen) in zip(first, second, strict=True):
        assert (published is Published.COMMITTED) == seen
        assert seen or published is Published.STALE


def test_a_record_set_aside_is_made_again(machine: Machine) -> None:
    home = machine("one")
    storage = Storage(home)
    assert storage.publish("votes", KEY, 1, body={"n": 1}) is Published.COMMITTED
    record = home.commits("votes") / f"{KEY}.json"
    home.store.replace(record, home.store.read(record).replace(b'"n":1', b'"n":2'))
    with pytest.raises(DamagedError, match="set aside"):
        Storage(machine("two")).read("votes", KEY)
    assert not storage.has("votes", KEY)
    assert not storage.committed("votes")
    (aside,) = home.store.names(home.quarantine)
    assert aside.startswith(f"votes.{KEY}.")
    assert storage.publish("votes", KEY, 2, body={"n": 1}) is Published.COMMITTED
    assert storage.committed("votes") == {KEY}


def publish_weights(storage: Storage, epoch: int, content: bytes) -> Published:
    folder = storage.staging(KEY, epoch)
    (folder / "more").mkdir()
    (folder / "weights").write_bytes(content)
    (folder / "more" / "config.json").write_bytes(b"{}")
    return storage.publish("adapters", KEY, epoch, folder=folder, body={"epoch": epoch})


def test_files_of_an_artifact_on_another_machine(machine: Machine) -> None:
    one, two = Storage(machine("one")), Storage(machine("two"))
    assert publish_weights(one, 1, b"weights") is Published.COMMITTED
    assert publish_weights(one, 2, b"others") is Published.ALREADY
    assert len(two.store.names(two.home.blob(KEY))) == 1, "the loser's files are gone"
    told = Storage(machine("three")).record("adapters", KEY)
    assert told is not None, "a record is read from the store, not from this machine's copies"
    assert told.body == {"epoch": 1}
    assert Storage(machine("three")).content(told, "weights") == b"weights"
    commit = two.read("adapters", KEY)
    assert commit is not None
    assert two.path(commit.files["weights"]).read_bytes() == b"weights"
    assert two.path(commit.files["more/config.json"]).read_bytes() == b"{}"


def test_what_killed_tries_left_is_removed_by_the_next(machine: Machine) -> None:
    one, two = Storage(machine("one")), Storage(machine("two"))
    left = one.staging(KEY, 1)
    (left / "weights").write_bytes(b"half")
    one.store.put_folder(left)
    (one.staging(KEY, 1) / "weights").write_bytes(b"never put anywhere")
    two.fence("adapters", KEY, 2)
    assert two.store.names(two.home.blob(KEY)) == []
    one.fence("adapters", KEY, 3)
    assert list(one.home.blob(KEY).iterdir()) == []


def test_damage_in_the_store_is_found(machine: Machine) -> None:
    one, two = Storage(machine("one")), Storage(machine("two"))
    publish_weights(one, 1, b"weights")
    commit = one.read("adapters", KEY)
    assert commit is not None
    one.store.replace(one.path(commit.files["weights"]), b"Weights")
    with pytest.raises(DamagedError, match="does not match its checksum"):
        two.read("adapters", KEY)
    assert not one.has("adapters", KEY)
    name = one.put_input(b"rows\n")
    one.store.replace(one.home.input(name), b"row\n")
    with pytest.raises(DamagedError, match="does not match its name"):
        two.read_input(name)
    assert two.put_input(b"rows\n") == name
    assert two.read_input(name) == b"rows\n"


def test_checkpoints_and_logs_are_shared(machine: Machine) -> None:
    """What a machine writes by itself: another one sees it once it was shared, and can go on from it."""
    one, two = machine("one"), machine("two")
    folder = one.checkpoint(KEY)
    for step in (1, 2, 3):
        (folder / f"step-{step}").mkdir(parents=True)
        (folder / f"step-{step}" / "tensors").write_bytes(b"%d" % step)
        (folder / f"{PART}unfinished").mkdir(exist_ok=True)
        (folder / f"{PART}unfinished" / "tensors").write_bytes(b"half")
        if step == 3:
            (folder / "step-1" / "tensors").unlink()
            (folder / "step-1").rmdir()
        one.store.share(folder)
    two.store.fetch_folder(two.checkpoint(KEY))
    steps = {p.parent.name: p.read_bytes() for p in two.checkpoint(KEY).glob("step-*/tensors")}
    assert steps == {"step-2": b"2", "step-3": b"3"}
    assert sorted(n for n in two.store.names(two.checkpoint(KEY))) == ["step-2", "step-3"]
    two.store.remove_folder(two.checkpoint(KEY))
    assert one.store.names(folder) == []
    log = one.log(KEY, 1)
    one.store.share(log)
    log.parent.mkdir(parents=True)
    log.write_bytes(b"begun\n")
    one.store.share(log)
    assert two.store.read(two.log(KEY, 1)) == b"begun\n"
    with log.open("ab") as file:
        file.write(b"done\n")
    one.store.share(log)
    assert two.store.read(two.log(KEY, 1), 6) == b"done\n"


def test_attempts_on_two_machines(machine: Machine) -> None:
    one, two = Attempts(machine("one")), Attempts(machine("two"))
    first = one.begin(KEY, host="h", worker="w", run="r", log=one.home.log(KEY, 1), group=1)
    assert first is not None
    assert two.is_current(KEY, 1)
    assert two.end(KEY, 1, Outcome.LOST)
    assert not one.end(KEY, 1, Outcome.COMMITTED)
    assert not one.is_current(KEY, 1)
    assert two.pardon(KEY) == 1
    second = two.begin(KEY, host="h", worker="w", run="r", log=two.home.log(KEY, 2), group=1)
    assert second is not None
    assert [(a.epoch, a.outcome) for a in one.history(KEY)] == [(1, Outcome.LOST), (2, None)]
    assert one.tries(KEY).pardoned == 1
    assert one.tried() == {KEY}


def s3(server: S3Server, tmp_path: Path, bucket: str = BUCKET, endpoint: str | None = None) -> Home:
    return home_at(f"s3://{bucket}/{tmp_path.name}", cache=tmp_path / "cache", endpoint=endpoint or server.endpoint)


@pytest.mark.parametrize("write", ["create", "commit", "fence"])
def test_a_write_whose_answer_was_lost_is_its_own(server: S3Server, tmp_path: Path, write: str) -> None:
    """S3 carried it out and did not say so; sent again, the condition no longer holds."""
    home = s3(server, tmp_path)
    path = home.commits("adapters") / f"{KEY}.json"
    server.lose_next_answer()
    if write == "create":
        assert home.store.create(path, b"mine")
    elif write == "commit":
        assert home.store.commit(path, b"{}", 1, lambda: True) is Published.COMMITTED
    else:
        home.store.fence(path, 2)
        assert home.store.commit(path, b"{}", 1, lambda: True) is Published.STALE
        assert home.store.commit(path, b"{}", 2, lambda: True) is Published.COMMITTED
    assert not (server.folder / "lose").exists()
    assert not home.store.create(path, b"mine"), "another call is another writer, whatever it writes"


def test_a_write_that_met_another_is_tried_again(server: S3Server, tmp_path: Path) -> None:
    home = s3(server, tmp_path)
    server.refuse_next_write()
    assert home.store.create(home.root / "x", b"first")
    assert not (server.folder / "conflict").exists()
    assert home.store.read(home.root / "x") == b"first"


def test_a_damaged_copy_here_is_fetched_again(server: S3Server, tmp_path: Path) -> None:
    one = Storage(s3(server, tmp_path))
    publish_weights(one, 1, b"weights")
    commit = one.read("adapters", KEY)
    assert commit is not None
    path = one.path(commit.files["weights"])
    path.write_bytes(b"Weights")
    assert Storage(one.home).read("adapters", KEY) is not None
    assert path.read_bytes() == b"weights"
    name = one.put_input(b"rows\n")
    one.input_path(name).write_bytes(b"row")
    assert one.read_input(name) == b"rows\n"


def test_a_store_that_is_away_is_waited_for(server: S3Server, tmp_path: Path) -> None:
    """Its errors are those of a storage that may come back, and say what and where."""
    nobody = s3(server, tmp_path, endpoint="http://127.0.0.1:9")
    nowhere = s3(server, tmp_path, bucket="no-such-bucket")
    asks: tuple[Callable[[Store, Path], object], ...] = (
        lambda store, root: store.create(root / "x", b""),
        lambda store, root: store.names(root),
    )
    for home, text in ((nobody, "127.0.0.1:9"), (nowhere, "no such bucket")):
        for ask in asks:
            with pytest.raises(OSError, match=text) as caught:
                ask(home.store, home.root)
            assert is_away(caught.value)
            assert not isinstance(caught.value, ConnectionError | TimeoutError), "the scheduler takes those for Redis's"


def test_fences_do_not_hide_files_of_their_size(server: S3Server, tmp_path: Path) -> None:
    store: Store = s3(server, tmp_path).store
    store.replace(store.root / "x" / "short", b"." * 61)
    store.fence(store.root / "x" / "fence", 1)
    assert store.names(store.root / "x") == ["short"]
    with pytest.raises(ValueError, match="61 bytes"):
        store.commit(store.root / "x" / "record", b"." * 61, 1, lambda: True)
