"""`nonet metrics` on a fleet that really trains and answers: names, values, a lost worker, a Redis that is away."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator, Mapping

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from nonet.runs.plan import Plan
from scheduler.state import Phase
from tests.rig import ROOT, Rig
from tests.small_batch import write_batch
from workers.redis_server import free_port

Labels = frozenset[tuple[str, str]]
_NAME = re.compile(r"\bnonet_[a-z_]+")


class Scrape:
    """What one scrape told: a value by name and labels."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.names = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}
        self._values: Mapping[tuple[str, Labels], float] = {
            (s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self._values.get((name, frozenset(labels.items())))

    def all(self, name: str) -> list[float]:
        """Every value under `name`, whatever its labels."""
        return [value for (found, _), value in self._values.items() if found == name]


class Fleet:
    """A rig with an exporter."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.port = free_port()

    def start_exporter(self) -> None:
        self.rig._spawn("metrics", "metrics", "--port", str(self.port))
        self.rig.wait(lambda: bool(self.scrape(patient=True).names), 60, "an exporter that answers")

    def scrape(self, patient: bool = False) -> Scrape:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=20) as response:
                return Scrape(response.read().decode())
        except OSError:
            if patient:
                return Scrape("")
            raise

    def wait(self, what: Callable[[Scrape], bool], why: str, seconds: float = 200.0) -> Scrape:
        """The first scrape of which `what` holds."""
        found = self.scrape()

        def holds() -> bool:
            nonlocal found
            found = self.scrape()
            return what(found)

        self.rig.wait(holds, seconds, why, pause=0.5)
        return found


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Rig(tmp_path_factory.mktemp("metrics")) as rig:
        yield Fleet(rig)


@pytest.fixture(scope="module")
def plan(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Submitted while no worker is up, so that it waits; its one shard of the test takes some seconds to answer."""
    batch = write_batch(tmp_path_factory.mktemp("batch"), mixes=1, rows=8, test_rows=240, epochs=3)
    batch.write_text(batch.read_text("utf-8").replace("shard_size: 5", "shard_size: 240"), encoding="utf-8")
    fleet.rig.start("redis", "scheduler")
    fleet.start_exporter()
    return fleet.rig.submit(batch)


def test_what_waits(fleet: Fleet, plan: Plan) -> None:
    first = fleet.wait(lambda s: bool(s.value("nonet_queue_messages", queue="train")), "messages in the queue")
    age = first.value("nonet_queue_oldest_message_age_seconds", queue="train")
    assert age is not None
    assert 0 <= age < 60
    later = fleet.wait(
        lambda s: (s.value("nonet_queue_oldest_message_age_seconds", queue="train") or 0) > age + 3, "an older message"
    )
    assert later.value("nonet_queue_messages", queue="infer") == 0
    assert later.value("nonet_queue_workers", queue="train") == 0
    assert later.value("nonet_processes", role="scheduler") == 1
    assert later.value("nonet_run_phase", run=plan.run, phase="running") == 1
    assert later.value("nonet_cells", run=plan.run, state="waiting") == len(plan.cells)
    assert later.value("nonet_executions_begun_total", task="nonet.train") == 0


@pytest.mark.timeout(900)
def test_what_is_in_work(fleet: Fleet, plan: Plan) -> None:
    fleet.rig.start("cpu", "w0")
    training = fleet.wait(
        lambda s: bool(s.all("nonet_training_loss")) and any(s.all("nonet_tokens_per_second")), "loss"
    )
    (loss,), (tokens,) = training.all("nonet_training_loss"), training.all("nonet_tokens_per_second")
    assert 0 < loss < 20
    assert 1 < tokens < 1e7
    (ratio,) = training.all("nonet_training_progress_ratio")
    assert 0 < ratio <= 1
    assert training.value("nonet_adapters", run=plan.run, state="running") == 1
    assert training.value("nonet_queue_workers", queue="train") == 1
    seen = fleet.wait(lambda s: max(s.all("nonet_compute_memory_bytes"), default=0) > 100 * 2**20, "a loaded base")
    assert seen.value("nonet_processes", role="worker") == 2
    assert seen.all("nonet_gpu_memory_bytes") == [], "this fleet computes on the CPU"
    answering = fleet.wait(lambda s: any(s.all("nonet_questions_per_second")), "a pace of answers", 400)
    assert 0 < max(answering.all("nonet_questions_per_second")) < 1e5


@pytest.mark.timeout(900)
def test_a_lost_worker_is_counted_and_the_end_adds_up(fleet: Fleet, plan: Plan) -> None:
    for process in fleet.rig.family("w0"):
        process.kill()
    fleet.rig.processes.pop("w0").wait(30)
    lost = fleet.wait(lambda s: sum(s.all("nonet_lease_losses_total")) >= 1, "a lost lease", 60)
    losses = sum(lost.all("nonet_lease_losses_total"))
    fleet.rig.start("w1")
    fleet.rig.wait_for_phase(plan, Phase.COMPLETE)
    ended = fleet.wait(lambda s: s.value("nonet_run_phase", run=plan.run, phase="complete") == 1, "the end", 60)
    assert ended.value("nonet_run_phase", run=plan.run, phase="running") == 0
    assert ended.value("nonet_cells", run=plan.run, state="committed") == len(plan.cells)
    assert ended.value("nonet_adapters", run=plan.run, state="committed") == len(plan.adapters)
    questions = sum(cell.shard.questions for cell in plan.cells)
    assert ended.value("nonet_questions_answered_total", run=plan.run) == questions
    outcomes = fleet.rig.outcomes(plan)
    assert sum(ended.all("nonet_executions_total")) == sum(outcomes.values())
    assert sum(ended.all("nonet_executions_begun_total")) == sum(outcomes.values())
    committed = {"outcome": "committed", "error_class": ""}
    for task, number in (("nonet.train", len(plan.adapters)), ("nonet.infer", len(plan.cells)), ("nonet.vote", 1)):
        assert ended.value("nonet_executions_total", task=task, **committed) == number
    assert sum(ended.all("nonet_lease_losses_total")) == losses == outcomes["lost"]
    assert ended.all("nonet_training_loss") == [], "nothing is in work any more"
    free = ended.value("nonet_storage_free_bytes")
    assert free
    assert free > 2**20


@pytest.mark.timeout(900)
def test_dashboard_and_rules_use_what_is_scraped(fleet: Fleet, plan: Plan) -> None:
    names = fleet.scrape().names
    rules = yaml.safe_load((ROOT / "config" / "prometheus" / "alerts.yml").read_text("utf-8"))
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    dashboard = json.loads((ROOT / "config" / "grafana" / "nonet.json").read_text("utf-8"))
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    used = {name for expression in asked for name in _NAME.findall(expression)}
    assert len(used) > 15
    assert used <= names, f"not in the scrape: {used - names}"
    operations = (ROOT / "docs" / "operations.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `(nonet_[a-z_]+)", operations, re.M))
    assert documented == names, f"docs/operations.md differs: {documented ^ names}"


@pytest.mark.timeout(900)
def test_redis_away_is_told_and_the_exporter_keeps_nothing(fleet: Fleet, plan: Plan) -> None:
    before = fleet.scrape().all("nonet_executions_total")
    fleet.rig.kill("metrics")
    fleet.start_exporter()
    assert fleet.scrape().all("nonet_executions_total") == before, "an exporter started again counts the same"
    fleet.rig.kill("redis")
    away = fleet.wait(lambda s: s.value("nonet_redis_up") == 0, "a Redis that is away", 60)
    assert away.value("nonet_storage_up") == 1
    assert away.value("nonet_cells", run=plan.run, state="committed") == len(plan.cells)
    assert away.all("nonet_queue_messages") == []
    fleet.rig.start("redis")
    fleet.wait(lambda s: s.value("nonet_redis_up") == 1, "Redis again", 60)
    fleet.rig.processes["metrics"].terminate()
    assert fleet.rig.processes["metrics"].wait(20) == 0
