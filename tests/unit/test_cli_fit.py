"""What `plan`, `submit` and `doctor` say of the workers that have announced themselves, on a real Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from cli.doctor import findings
from cli.exit_codes import ExitCode
from cli.finding import Health
from cli.session import Session
from config.queues import WORKERS, Queue, worker_name
from config.settings import Settings
from nonet.limits.capacity import Capacity
from nonet.limits.memory import GIB
from tasks.announcement import announce, announced, withdraw
from tests.cli_home import CliHome, write_files
from tests.unit.test_memory import QWEN_32B, QWEN_72B, V100
from workers.hardware import capacity_of, cpu_memory, gpu
from workers.redis_server import start_redis, write_config


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("redis")
    url = write_config(folder)
    process = start_redis(folder)
    yield url
    process.kill()
    process.wait(10)


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    monkeypatch.setenv("NONET_REDIS_URL", server)
    with redis.Redis.from_url(server) as client:
        client.flushall()
        yield client


@pytest.fixture
def here(tmp_path: Path) -> CliHome:
    return CliHome(tmp_path, write_files(tmp_path))


def base(here: CliHome, config: dict[str, object]) -> None:
    (here.folder / "base" / "config.json").write_text(json.dumps(config))


def test_without_a_worker_the_estimate_is_shown_and_nothing_refused(here: CliHome) -> None:
    base(here, QWEN_32B)
    told = here.call("plan", str(here.batch), "--no-tokens")
    assert told.exit_code == ExitCode.DONE
    assert "GiB to train" in told.output
    assert "none is known here" in told.output


def test_a_base_beyond_every_worker_is_refused_with_the_figures(here: CliHome, client: redis.Redis) -> None:
    base(here, QWEN_72B)
    announce(client, replace(V100, worker="gpu0@a", capability=(8, 0), memory=24 * GIB))
    announce(client, replace(V100, worker="gpu1@b", capability=(8, 0)))
    announce(client, replace(V100, worker="cpu@c", queues=("cpu",), memory=2**50))
    for command in (["plan", "--no-tokens"], ["submit"]):
        refused = here.call(*command, str(here.batch))
        assert refused.exit_code == ExitCode.BAD_INPUT
        told = "/base) cannot be trained: it needs about 44.6 GiB, the largest worker has 32.0 GiB"
        assert told in refused.stderr
        assert "cannot be answered with: it needs about 41.3 GiB" in refused.stderr
    assert not here.home.runs.exists(), "nothing was queued"
    assert here.call("submit", "--anyway", str(here.batch)).exit_code == ExitCode.DONE


def test_one_worker_that_fits_is_enough(here: CliHome, client: redis.Redis) -> None:
    base(here, QWEN_72B)
    announce(client, V100)
    announce(client, replace(V100, worker="gpu1@b", capability=(9, 0), memory=80 * GIB))
    told = here.call("plan", str(here.batch), "--no-tokens")
    assert told.exit_code == ExitCode.DONE
    assert "gpu0@volta cannot train: Tesla V100-SXM2-32GB has compute capability 7.0" in told.output
    whole = json.loads(here.call("plan", str(here.batch), "--no-tokens", "--json").stdout)["memory"]
    assert [(found["to"], found["able"], list(found["unable"])) for found in whole] == [
        ("train", ["gpu1@b"], ["gpu0@volta"]),
        ("answer", ["gpu1@b"], ["gpu0@volta"]),
    ]


def test_a_stack_that_no_worker_has_is_refused(here: CliHome, client: redis.Redis) -> None:
    announce(client, V100)
    text = here.batch.read_text().replace("batch_size: 1}", "batch_size: 1, stack: gpu}")
    here.batch.write_text(text.replace("shard_size: 2}", "shard_size: 2, stack: cpu}"))
    refused = here.call("submit", str(here.batch))
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "/base) cannot be trained: gpu0@volta has no stack gpu, only volta" in refused.stderr
    assert "/base) cannot be answered with: gpu0@volta has no stack cpu, only volta" in refused.stderr


def test_what_is_made_already_is_not_refused(here: CliHome, client: redis.Redis) -> None:
    base(here, QWEN_72B)
    plan = here.submit()
    here.train(plan)
    announce(client, V100)
    refused = here.call("plan", str(here.batch), "--no-tokens").stderr
    assert "cannot be answered" in refused
    assert "cannot be trained" not in refused


def test_doctor_tells_what_workers_have_and_which_runs_they_cannot_do(here: CliHome, client: redis.Redis) -> None:
    base(here, QWEN_72B)
    plan = here.submit()
    announce(client, V100)
    found = {finding.what: finding for finding in findings(Session(Settings(home=here.home.root)))}
    bad = found[f"run {plan.run}"]
    assert bad.health is Health.BAD
    assert "AWQ's kernels need 7.5" in bad.text


def test_an_announcement_ends_with_its_worker(client: redis.Redis) -> None:
    announce(client, V100)
    announce(client, replace(V100, worker="other@host"))
    assert 0 < client.pttl(worker_name(V100.worker)) <= 60_000
    withdraw(client, V100.worker)
    assert [found.worker for found in announced(client)] == ["other@host"]
    client.delete(worker_name("other@host"))  # as when its time is over
    assert announced(client) == ()
    assert not client.exists(WORKERS)


def test_an_announcement_that_cannot_be_read_is_left_out(client: redis.Redis) -> None:
    announce(client, V100)
    for at, text in enumerate([b"[]", b"{", b"\xff", b'{"worker": 3}', b"null"]):
        client.sadd(WORKERS, f"bad{at}")
        client.set(worker_name(f"bad{at}"), text)
    assert announced(client) == (V100,)


def test_a_worker_on_a_cpu_announces_its_limit_and_its_stacks(tmp_path: Path) -> None:
    (tmp_path / "one" / "bin").mkdir(parents=True)
    (tmp_path / "one" / "bin" / "python").touch()
    settings = Settings(stacks=tmp_path, memory_limit=2 * GIB, train_stack="one")
    found = capacity_of(settings, "w@h", [Queue.TRAIN])
    assert found == Capacity("w@h", ("train",), "cpu", found.name, 2 * GIB, None, ("one",), found.roles) if found else 0
    assert found is not None
    assert found.roles["train"] == "one"
    assert cpu_memory(None) > 2**28


def test_a_gpu_that_cannot_be_asked_is_not_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    try:
        gpu()
    except OSError:
        assert capacity_of(Settings(device="cuda", stacks=tmp_path), "w@h", [Queue.TRAIN]) is None
        assert "nothing is announced of this worker's GPU" in caplog.text
    else:
        pytest.skip("there is a GPU here")


def test_a_joint_training_is_told_of_for_each_worker(here: CliHome, client: redis.Redis) -> None:
    base(here, QWEN_32B)
    announce(client, replace(V100, memory=24 * GIB))
    announce(client, replace(V100, worker="gpu1@b", capability=(9, 0), memory=141 * GIB))
    here.batch.write_text(here.batch.read_text().replace("batch_size: 1}", "batch_size: 1, trainer: joint}"))
    told = " ".join(here.call("plan", str(here.batch), "--no-tokens").output.split())
    assert "layers computed twice: about" in told, "on 24 GiB"
    assert "nothing computed twice: about" in told, "on 141 GiB"
    assert "(gpu0@volta)" in told
    assert "(gpu1@b)" in told
