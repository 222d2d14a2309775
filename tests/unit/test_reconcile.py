"""State and reconciliation over real files: what is read, what is enqueued, what a rerun means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from config.queues import INFER_TASK, TRAIN_TASK, VOTE_TASK, Queue
from nonet.runs.attempt import Attempts, ErrorClass, Outcome
from nonet.runs.plan import (
    ADAPTERS,
    JOINT,
    VOTES,
    BaseModel,
    Plan,
    PlannedAdapter,
    PlannedBase,
    QuestionSet,
    Shard,
    named,
    plan_from_json,
)
from nonet.runs.result import write_result
from nonet.stores.home import Home
from nonet.stores.key import digest
from nonet.stores.storage import Storage
from scheduler.reconcile import Decision, reconcile, rerun_units
from scheduler.state import Phase, RunState, StateReader, UnitState
from scheduler.submit import cancel

EMPTY = dict.fromkeys(Queue, 0)


def make_plan(adapters: int = 3, shards: int = 2, **vote: object) -> Plan:
    settings = {"method": "majority", "members": None, "select": "all", "allow_partial": False, "quorum": None}
    return named(
        Plan(
            run="",
            name="t",
            bases=(PlannedBase("", BaseModel("m", None, "/m", "d" * 64), "transformers", {"max_length": 512}, {}),),
            prompt={},
            vote=settings | vote,
            inputs={},
            adapters=tuple(PlannedAdapter(f"m{i}", f"{i}" * 64, "e" * 64, (), 2, 3, 0) for i in range(adapters)),
            shards=tuple(Shard(f"test-{i:03d}", QuestionSet.TEST, i, i + 1, 4, f"s{i}") for i in range(shards)),
            submission="submission.jsonl",
        )
    )


class Seen:
    """What is in flight, as a test sets it."""

    def __init__(self) -> None:
        self.waiting_keys: set[str] = set()
        self.held: set[str] = set()
        self.is_settling = False

    def queued(self) -> frozenset[str]:
        return frozenset(self.waiting_keys)

    def leased(self, keys: Iterable[str]) -> frozenset[str]:
        return frozenset(keys) & self.held

    def settling(self) -> bool:
        return self.is_settling


class World:
    """A home with one plan, and ways to make things happen to it."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.plan = plan
        self.storage = Storage(Home(root))
        self.attempts = Attempts(self.storage.home)
        self.seen = Seen()

    def read(self) -> RunState:
        return StateReader(self.storage, self.attempts, self.seen, failure_limit=3).read(self.plan)

    def decide(self, window: int = 16) -> Decision:
        return reconcile(self.read(), EMPTY, window)

    def train(self, *adapters: int) -> None:
        for i in adapters:
            self.storage.publish(ADAPTERS, self.plan.adapters[i].key, 1)

    def answer(self, *cells: int) -> None:
        for i in cells:
            cell = self.plan.cells[i]
            self.storage.publish(cell.scope, cell.key, 1, body={"ballots": []})

    def fail(self, key: str, error_class: ErrorClass, times: int = 1, group: int = 1) -> None:
        for _ in range(times):
            epoch = self.begin(key, group)
            self.attempts.end(key, epoch, Outcome.FAILED, error_class, "because")

    def begin(self, key: str, group: int = 1) -> int:
        log = self.storage.home.log(key, 1)
        attempt = self.attempts.begin(key, host="h", worker="w", run=self.plan.run, log=log, group=group)
        assert attempt is not None
        return attempt.epoch


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, make_plan())


def test_plan_survives_json_and_names_itself_by_content() -> None:
    plan = make_plan()
    assert plan_from_json(plan.to_json()) == plan
    assert make_plan().run == plan.run
    assert make_plan(shards=3).run != plan.run
    assert len({c.key for c in plan.cells}) == 6


def test_fresh_run_trains_everything_and_answers_nothing(world: World) -> None:
    decision = world.decide()
    assert [m.task for m in decision.messages] == [TRAIN_TASK] * 3
    assert all("mix=m" in m.label for m in decision.messages)
    assert world.read().phase is Phase.RUNNING


@pytest.mark.parametrize(("trainers", "sizes"), [(0, [5]), (1, [5]), (2, [3, 2]), (4, [2, 1, 1, 1]), (9, [1] * 5)])
def test_adapters_that_are_trained_jointly_are_shared_among_workers(
    tmp_path: Path, trainers: int, sizes: list[int]
) -> None:
    plan = make_plan(adapters=5)
    plan = replace(plan, bases=(replace(plan.bases[0], trainer=JOINT),))
    messages = reconcile(World(tmp_path, plan).read(), EMPTY, 16, trainers=trainers).messages
    assert [len(m.keys) for m in messages] == sizes
    assert [key for m in messages for key in m.keys] == [a.key for a in plan.adapters]
    assert all(m.task == TRAIN_TASK for m in messages)
    assert messages[0].label.startswith("mix=" + ", ".join(f"m{i}" for i in range(sizes[0])))


def test_joint_training_that_ran_out_of_memory_goes_on_in_halves(tmp_path: Path) -> None:
    plan = make_plan(adapters=5)
    world = World(tmp_path, replace(plan, bases=(replace(plan.bases[0], trainer=JOINT),)))
    for adapter in plan.adapters:
        world.fail(adapter.key, ErrorClass.OUT_OF_MEMORY, group=5)
    assert [len(m.keys) for m in world.decide().messages] == [2, 2, 1]


def test_the_trainer_is_in_no_key_and_in_the_run() -> None:
    plan = make_plan()
    joint = named(replace(plan, run="", bases=(replace(plan.bases[0], trainer=JOINT),)))
    assert [c.key for c in joint.cells] == [c.key for c in plan.cells]
    assert joint.run != plan.run
    assert plan_from_json(joint.to_json()) == joint
    assert b"trainer" not in plan.to_json(), "as in plans from before there was a choice"


def test_window_bounds_what_waits(world: World) -> None:
    assert len(world.decide(window=2).messages) == 2


def test_queued_and_held_work_is_not_sent_again(world: World) -> None:
    first, second, third = (a.key for a in world.plan.adapters)
    world.seen.waiting_keys = {first}
    world.begin(second)
    world.seen.held = {second}
    decision = world.decide()
    assert [m.keys for m in decision.messages] == [(third,)]
    assert decision.lost == ()


def test_lost_holder_is_noticed_unless_redis_is_settling(world: World) -> None:
    key = world.plan.adapters[0].key
    epoch = world.begin(key)
    world.seen.is_settling = True
    assert world.decide().lost == ()
    world.seen.is_settling = False
    assert world.decide().lost == ((key, epoch),)


def test_shards_are_answered_by_every_adapter_that_is_ready(world: World) -> None:
    world.train(0, 2)
    world.fail(world.plan.adapters[1].key, ErrorClass.BAD_INPUT)
    messages = [m for m in world.decide().messages if m.task == INFER_TASK]
    assert [(m.shard, len(m.keys)) for m in messages] == [("test-000", 2), ("test-001", 2)]
    assert "adapters=m0, m2" in messages[0].label


def test_few_shards_go_ahead_of_waiting_trainings(tmp_path: Path) -> None:
    world = World(tmp_path, make_plan(adapters=2, shards=9))
    world.train(0)
    tasks = [m.task for m in world.decide().messages]
    assert (tasks.count(TRAIN_TASK), tasks.count(INFER_TASK)) == (1, 2)
    world.train(1)
    assert [m.task for m in world.decide().messages] == [INFER_TASK] * 9


def test_cell_whose_process_died_is_tried_alone(world: World) -> None:
    world.train(0, 1, 2)
    bad = world.plan.cells[1].key
    epoch = world.begin(bad)
    world.attempts.end(bad, epoch, Outcome.LOST, ErrorClass.WORKER_LOST, "died")
    groups = [m.keys for m in world.decide().messages if m.shard == "test-000"]
    assert sorted(len(g) for g in groups) == [1, 2]
    assert (bad,) in groups


def test_cells_that_ran_out_of_memory_are_tried_in_smaller_groups(tmp_path: Path) -> None:
    world = World(tmp_path, make_plan(adapters=5, shards=1))
    world.train(*range(5))
    for cell in world.plan.cells:
        world.fail(cell.key, ErrorClass.OUT_OF_MEMORY, group=5)
    assert [len(m.keys) for m in world.decide().messages] == [2, 2, 1]


def stopping(plan: Plan) -> Plan:
    """`plan` with a shard of validation, stopping when decided."""
    validation = Shard("validation-000", QuestionSet.VALIDATION, 0, 1, 4, "v0")
    bases = tuple(replace(base, inference={"stop_when_decided": True}) for base in plan.bases)
    return named(replace(plan, bases=bases, shards=(validation, *plan.shards)))


def test_a_run_that_stops_when_decided_measures_all_members_first(tmp_path: Path) -> None:
    world = World(tmp_path, stopping(make_plan()))
    world.train(0, 1)
    assert {m.shard for m in world.decide().messages if m.task == INFER_TASK} == {"validation-000"}
    world.train(2)
    world.answer(0, 1)
    assert {m.shard for m in world.decide().messages if m.task == INFER_TASK} == {"validation-000"}
    world.answer(2)
    messages = [m for m in world.decide().messages if m.task == INFER_TASK]
    assert [(m.shard, len(m.keys)) for m in messages] == [("test-000", 3), ("test-001", 3)]


def test_ballots_of_a_run_that_stops_are_kept_apart() -> None:
    """From those of one that does not, and of one with another vote; validation is shared by all."""
    base = make_plan()
    plans = [
        named(replace(stopping(base), bases=base.bases)),
        stopping(base),
        stopping(make_plan(method="weighted")),
        stopping(make_plan(adapters=2)),
    ]
    first = [tuple(plan.cell_key(plan.adapters[0], shard) for shard in plan.shards) for plan in plans]
    assert len({keys[0] for keys in first}) == 1
    assert len({keys[1] for keys in first}) == len(plans)
    assert [cell.key for cell in plans[1].cells if cell.adapter is plans[1].adapters[0]] == list(first[1])


def test_vote_comes_last_and_completes_the_run(world: World) -> None:
    world.train(0, 1, 2)
    world.answer(*range(5))
    assert [m.task for m in world.decide().messages] == [INFER_TASK]
    world.answer(5)
    (message,) = world.decide().messages
    assert message.task == VOTE_TASK
    key = world.plan.vote_key(world.plan.vote, world.plan.cells)
    assert message.keys == (key,)
    manifest = {"run": world.plan.run, "submission": {"sha256": digest(b"rows")}}
    world.storage.publish(VOTES, key, 1, body={"manifest": manifest})
    assert world.read().phase is Phase.RUNNING, "not complete before its submission stands in the run's folder"
    write_result(world.storage.home, world.plan, b"rows", manifest)
    assert world.read().phase is Phase.COMPLETE
    assert world.decide().messages == ()
    attempt = world.begin(key)
    world.attempts.end(key, attempt, Outcome.COMMITTED)
    world.storage.home.submission(world.plan.run, "submission.jsonl").write_bytes(b"rowz")
    assert [m.task for m in world.decide().messages] == [VOTE_TASK], "a damaged submission is written again"


def test_failed_cell_blocks_the_run_and_rerun_means_only_it(world: World) -> None:
    world.train(0, 1, 2)
    world.answer(0, 1, 2, 3, 5)
    bad = world.plan.cells[4]
    world.fail(bad.key, ErrorClass.ENGINE, times=3)
    state = world.read()
    assert state.phase is Phase.BLOCKED
    assert [u.name for u in state.failed] == [bad.name]
    assert world.decide().messages == ()
    assert [u.key for u in rerun_units(state, failed=True, adapters=(), shards=())] == [bad.key]
    assert rerun_units(state, failed=True, adapters=("m0",), shards=()) == ()
    world.attempts.pardon(bad.key)
    assert [m.keys for m in world.decide().messages] == [(bad.key,)]


def test_partial_vote_only_when_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path, make_plan(allow_partial=True, quorum=2))
    world.train(0, 1)
    world.answer(0, 1, 3, 4)
    assert world.read().vote is None, "an adapter may still come"
    world.fail(world.plan.adapters[2].key, ErrorClass.BAD_INPUT)
    state = world.read()
    assert state.vote is not None
    present = [c for i, c in enumerate(world.plan.cells) if i in (0, 1, 3, 4)]
    assert state.vote.key == world.plan.vote_key(world.plan.vote, present)


def test_cancelled_run_gets_nothing(world: World) -> None:
    assert cancel(world.storage, world.plan.run)
    assert not cancel(world.storage, world.plan.run)
    assert world.read().phase is Phase.CANCELLED
    assert world.decide().messages == ()


def test_waiting_cells_name_their_state(world: World) -> None:
    state = world.read()
    assert {u.state for u in state.cells} == {UnitState.WAITING}
    assert state.cell_at(2, 1).name == "m2/test-001"
