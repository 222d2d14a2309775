"""The time left: what never makes it longer, what is said where nothing is known, and a real run replayed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.left import left_lines, sooner
from nonet.runs.attempt import Attempt, Outcome
from nonet.runs.plan import BaseModel, Plan, PlannedAdapter, PlannedBase, QuestionSet, Shard
from scheduler.forecast import Forecast, LiveWorker, Rate, Rates, forecast, forecast_of
from scheduler.rates import Part, measures_of, rate_of
from scheduler.state import Phase, RunState, UnitState, UnitStatus
from scheduler.work_left import AnswersLeft, InWork, TrainingLeft, WorkLeft, work_left

BOTH = frozenset({"train", "infer"})
TRAIN = Rate(0.5, 0.4, 0.7, overhead=1.0, warm_up=10.0, count=5, here=5)
ANSWER = Rate(0.05, 0.04, 0.06, overhead=0.5, warm_up=5.0, count=8, here=8)
RATES = Rates({"": TRAIN}, {"": ANSWER})

seconds = st.floats(0.01, 1000.0)
rates = st.builds(
    lambda mean, overhead, warm: Rate(mean, mean * 0.8, mean * 1.3, overhead, warm, 4, 4), seconds, seconds, seconds
)

TRAINERS = st.just(0) | st.integers(3, 5)


def fleet(size: int, trainers: int) -> list[LiveWorker]:
    """So many workers that take both queues; or, where `trainers` is above 0, so many to answer and so many to train.
    Whoever holds work in `works` is called as those that train."""
    if not trainers:
        return [LiveWorker(f"w{at}", BOTH) for at in range(size)]
    answering = [LiveWorker(f"i{at}", frozenset({"infer"})) for at in range(size)]
    return [*answering, *(LiveWorker(f"t{at}", frozenset({"train"})) for at in range(trainers))]


workers = st.builds(fleet, st.integers(1, 6), TRAINERS)


@st.composite
def works(draw: st.DrawFn) -> WorkLeft:
    """Trainings to come and in work, cells of these and of adapters that are trained."""
    trainings = [TrainingLeft(f"t{at}", "", units) for at, units in enumerate(draw(st.lists(seconds, max_size=8)))]
    held = [
        InWork(f"t{at}", (f"in{at}",), "", True, left, told)
        for at, (left, told) in enumerate(draw(st.lists(st.tuples(seconds, st.none() | seconds), max_size=3)))
    ]
    names = ["trained", *(t.adapter for t in trainings), *(h.names[0] for h in held)]
    answers = [AnswersLeft(name, "", draw(seconds)) for name in names if draw(st.booleans())]
    return WorkLeft(tuple(held), tuple(trainings), tuple(answers), {"": draw(st.integers(1, 50))} if answers else {})


def end(left: WorkLeft, measured: Rates, up: Sequence[LiveWorker]) -> float:
    found = forecast_of(left, measured, up)
    assert found.seconds is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.seconds + 1e-9 <= found.high + 2e-9
    return found.seconds


NEARLY = 1 + 1e-9


@given(works(), rates, rates, st.integers(1, 6), TRAINERS)
def test_one_more_worker_never_makes_it_later(
    left: WorkLeft, train: Rate, answer: Rate, size: int, trainers: int
) -> None:
    measured = Rates({"": train}, {"": answer})
    before = end(left, measured, fleet(size, trainers))
    assert end(left, measured, fleet(size + 1, trainers)) <= before * NEARLY
    if trainers:
        assert end(left, measured, fleet(size, trainers + 1)) <= before * NEARLY


@given(works(), rates, rates, workers, st.floats(0.1, 1.0))
def test_faster_work_never_makes_it_later(
    left: WorkLeft, train: Rate, answer: Rate, up: list[LiveWorker], part: float
) -> None:
    def faster(rate: Rate) -> Rate:
        costs = rate.seconds * part, rate.low * part, rate.high * part
        return Rate(*costs, rate.overhead * part, rate.warm_up * part)

    before = end(left, Rates({"": train}, {"": answer}), up)
    assert end(left, Rates({"": faster(train)}, {"": answer}), up) <= before * NEARLY
    assert end(left, Rates({"": train}, {"": faster(answer)}), up) <= before * NEARLY


@given(works(), rates, rates, workers, st.data())
def test_less_work_never_makes_it_later(
    left: WorkLeft, train: Rate, answer: Rate, up: list[LiveWorker], data: st.DataObject
) -> None:
    part = st.floats(0.0, 1.0)
    less = replace(
        left,
        trainings=tuple(replace(t, units=t.units * data.draw(part)) for t in left.trainings),
        answers=tuple(replace(a, units=a.units * data.draw(part)) for a in left.answers),
        in_work=tuple(replace(h, units=h.units * data.draw(part)) for h in left.in_work),
    )
    measured = Rates({"": train}, {"": answer})
    assert end(less, measured, up) <= end(left, measured, up) * NEARLY


@given(works(), rates, rates, workers)
def test_it_lies_between_perfect_sharing_and_one_worker(
    left: WorkLeft, train: Rate, answer: Rate, up: list[LiveWorker]
) -> None:
    measured = Rates({"": train}, {"": answer})
    found = forecast_of(left, measured, up)
    assert found.seconds is not None
    assert found.work is not None
    warm_up = max(train.warm_up, answer.warm_up)
    assert found.seconds * NEARLY >= found.work / len(found.workers)
    assert found.seconds <= (found.work + warm_up) * NEARLY
    assert (found.training or 0.0) <= found.seconds * NEARLY


def test_the_arithmetic_by_hand() -> None:
    left = WorkLeft((), (TrainingLeft("a", "", 100), TrainingLeft("b", "", 60)), (AnswersLeft("a", "", 400),), {"": 4})
    cold = [LiveWorker("w0", BOTH), LiveWorker("w1", BOTH)]
    warm = replace(RATES, warm=frozenset({"w0", "w1"}))
    # a: 100 x 0.5 + 1 = 51; b: 31. Of a: 400 x 0.05 = 20 and 4 x 0.5 = 2, on both from 51 on.
    assert end(left, warm, cold) == pytest.approx(51 + 22 / 2)
    assert end(left, RATES, cold) == pytest.approx(61 + 22 / 2), "ten seconds of warm-up first"
    assert end(left, warm, cold[:1]) == pytest.approx(51 + 31 + 22)
    done = replace(left, trainings=(), answers=(AnswersLeft("z", "", 400),))
    assert end(done, warm, cold) == pytest.approx(11)


def test_nothing_is_known_before_anything_was_measured() -> None:
    left = WorkLeft((InWork("w0", ("a",), "", True, 100),), (), (AnswersLeft("a", "", 10),), {"": 1})
    found = forecast_of(left, Rates(), [LiveWorker("w0", BOTH)])
    assert (found.seconds, found.low, found.training) == (None, None, None)
    assert told(found) == "time left  not known until the first 3 steps of a training and the first answers"
    moving = replace(left, in_work=(replace(left.in_work[0], told=50.0, pace=0.5),))
    found = forecast_of(moving, Rates(), [LiveWorker("w0", BOTH)])
    assert (found.seconds, found.training) == (None, 50.0)
    assert told(found) == (
        "time left  trainings about 50 s; the rest not known until the first answers "
        "(from the pace of the trainings in work; 1 worker)"
    )


def test_a_queue_that_nobody_takes_is_named() -> None:
    left = WorkLeft((), (TrainingLeft("a", "", 7200),), (), {})
    found = forecast_of(left, RATES, [LiveWorker("w0", frozenset({"infer"})), LiveWorker("cpu", frozenset({"cpu"}))])
    assert told(found) == "time left  none while no worker takes train: about 60 min of one worker's work"
    assert found.one_more is not None


def test_what_would_be_sooner_is_said_where_it_matters() -> None:
    many = WorkLeft((), tuple(TrainingLeft(f"t{at}", "", 1000) for at in range(8)), (), {})
    warm = replace(RATES, warm=frozenset({"w0"}))
    lines = list(left_lines(forecast_of(many, warm, [LiveWorker("w0", BOTH)]), PLAN))
    assert any(line.startswith("sooner     one more worker: about 34 min") for line in lines), lines
    one = WorkLeft((), (TrainingLeft("t", "", 1000),), (), {})
    assert not [x for x in left_lines(forecast_of(one, warm, [LiveWorker("w0", BOTH)]), PLAN) if "sooner" in x]
    crumbs = WorkLeft((), (), (AnswersLeft("a", "", 4000),), {"": 1000})
    lines = list(left_lines(forecast_of(crumbs, warm, [LiveWorker("w0", BOTH)]), PLAN))
    assert any("71% of answering is what a shard costs by itself" in line for line in lines), lines


def test_joint_training_is_named_where_adapters_wait_for_a_gpu() -> None:
    gpu = [LiveWorker("gpu0", BOTH, gpu=True)]
    waiting = WorkLeft((), tuple(TrainingLeft(f"t{at}", "", 1000) for at in range(3)), (), {})
    assert "trainer: joint, for 3 adapters wait for 1 GPU (docs/training.md)" in sooner(
        forecast_of(waiting, RATES, gpu)
    )
    joint = replace(waiting, trainings=tuple(replace(t, joint=True) for t in waiting.trainings))
    for left, up in ((joint, gpu), (waiting, [LiveWorker("w0", BOTH)]), (replace(waiting, trainings=()), gpu)):
        assert not [line for line in sooner(forecast_of(left, RATES, up)) if "joint" in line]


def test_adapters_that_are_trained_jointly_end_together() -> None:
    both = tuple(TrainingLeft(name, "", 100, joint=True) for name in ("a", "b"))
    left = WorkLeft((), both, (AnswersLeft("a", "", 400),), {"": 1})
    warm = replace(RATES, warm=frozenset({"t0"}))
    # 2 x (100 x 0.5 + 1) = 102, and only then 400 x 0.05 + 0.5 by another worker
    up = [LiveWorker("t0", frozenset({"train"})), LiveWorker("i0", frozenset({"infer"}))]
    assert end(left, warm, up) == pytest.approx(102 + 20.5)
    apart = replace(left, trainings=tuple(replace(t, joint=False) for t in both))
    assert end(apart, warm, up) == pytest.approx(102), "a is answered while b is trained"


def told(found: Forecast) -> str:
    first, *_ = left_lines(found, PLAN)
    return first


def test_adapters_that_are_trained_at_once_end_with_the_last_of_them() -> None:
    names, steps = ("a", "b"), (100, 40)
    adapters = tuple(PlannedAdapter(n, n, "d", (), 0, count, 0) for n, count in zip(names, steps, strict=True))
    last = Attempt("a", 1, "vm", "w0", "this", "one message", 2, 0.0)

    def units(at: int) -> tuple[UnitStatus, ...]:
        told = [{"step": at, "seconds_left": (count - at) / 2} for count in steps]
        both = zip(names, told, strict=True)
        return tuple(UnitStatus(n, n, "", UnitState.RUNNING, 1, last, progress=progress) for n, progress in both)

    def held(at: int) -> InWork:
        plan = replace(PLAN, adapters=adapters, bases=(replace(PLAN.bases[0], trainer="joint"),))
        (found,) = work_left(RunState(plan, Phase.RUNNING, units(at), (), None)).in_work
        return found

    assert held(20) == InWork("w0", names, "", True, 100.0, told=40.0, pace=0.4)
    assert held(1) == InWork("w0", names, "", True, 138.0), "too early"


PLAN = Plan(
    "run-1",
    "run",
    (PlannedBase("", BaseModel("m", None, "/m", "d"), "transformers", {"max_length": 512}, {}),),
    {},
    {},
    {},
    (),
    (),
    "s.jsonl",
)


# ---------------------------------------------------------------- a real run

RECORD = json.loads((Path(__file__).parent / "recorded_run.json").read_text("utf-8"))
"""Two runs of the demo on two workers, an earlier one and one later that day on a busier machine: adapters with their
steps, shards with their questions, and of each attempt: unit, worker, message, group, begin and end in seconds, and the
seconds of pure work where its commit told them; of the later one also what progress files said every few seconds."""
UP = [LiveWorker(name, BOTH) for name in ("compute0@vm", "compute1@vm")]
END = max(row[5] for row in RECORD["run"]["attempts"])


def parts(of: str, run: str, until: float) -> dict[str, list[Part]]:
    """What had been made by then, by kind."""
    units = dict(RECORD[of]["adapters"]) | {
        f"{adapter}/{shard}": questions
        for adapter, _ in RECORD[of]["adapters"]
        for shard, questions in RECORD[of]["shards"]
    }
    found: dict[str, list[Part]] = {"train": [], "answer": []}
    for name, worker, log, group, started, ended, took in RECORD[of]["attempts"]:
        if ended <= until:
            made = Attempt(name, 1, "vm", worker, run, log, group, started, Outcome.COMMITTED, None, None, ended)
            found["answer" if "/" in name else "train"].append(Part(made, float(units[name]), took))
    return found


def rates_then(until: float, *, earlier: bool) -> Rates:
    """Rates as `scheduler.rates` takes them: of this run, where it has none of an earlier one if there is any."""
    here, there = parts("run", "this", until), parts("earlier", "that", 1e9 if earlier else 0.0)
    found = {}
    for kind in here:
        rate = rate_of(measures_of(here[kind] or there[kind]), "this")
        found[kind] = {} if rate is None else {"": rate}
    seen = {part.attempt.worker for made in here.values() for part in made}
    return Rates(found["train"], found["answer"], frozenset(seen))


def state_then(until: float) -> RunState:
    """The run as it was then."""
    record = RECORD["run"]
    adapters = tuple(PlannedAdapter(name, name, "d", (), 0, steps, 0) for name, steps in record["adapters"])
    shards = tuple(
        Shard(name, QuestionSet.TEST, 0, 1, questions, name.replace("-", "")) for name, questions in record["shards"]
    )
    plan = replace(PLAN, adapters=adapters, shards=shards)
    tried = {row[0]: row for row in record["attempts"] if row[4] <= until}
    progress: dict[str, Any] = next((told for at, told in reversed(record["progress"]) if at <= until), {})

    def unit(name: str, ready: bool) -> UnitStatus:
        if name not in tried:
            return UnitStatus(name, name, "", UnitState.READY if ready else UnitState.WAITING)
        _, worker, log, group, started, ended, _ = tried[name]
        if ended <= until:
            return UnitStatus(name, name, "", UnitState.COMMITTED)
        last = Attempt(name, 1, "vm", worker, "this", log, group, started)
        return UnitStatus(name, name, "", UnitState.RUNNING, 1, last, progress=progress.get(name))

    trained = {row[0] for row in tried.values() if row[5] <= until}
    cells = tuple(unit(f"{a.name}/{s.name}", a.name in trained) for s in shards for a in adapters)
    return RunState(plan, Phase.RUNNING, tuple(unit(a.name, True) for a in adapters), cells, None)


def predicted(at: float, *, earlier: bool) -> Forecast:
    return forecast(state_then(at), rates_then(at, earlier=earlier), UP)


@pytest.mark.parametrize("part", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
def test_the_time_left_of_a_real_run_is_foretold(part: float) -> None:
    at = part * END
    found = predicted(at, earlier=True)
    assert found.seconds == pytest.approx(END - at, rel=0.25)
    assert all(worker.seconds is not None for worker in found.busy)


@pytest.mark.parametrize("part", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("earlier", [True, False])
def test_half_way_through_a_real_run_its_end_is_foretold(part: float, earlier: bool) -> None:
    at = part * END
    found = predicted(at, earlier=earlier)
    answered = part > 0.73  # both workers train until then
    assert (found.seconds is None) == (not answered and not earlier)
    if found.seconds is None:
        trained = max(row[5] for row in RECORD["run"]["attempts"] if "/" not in row[0])
        assert at + (found.training or 0.0) == pytest.approx(trained, rel=0.15)
        assert "the rest not known until the first answers (from" in told(found)
    else:
        assert at + found.seconds == pytest.approx(END, rel=0.1)


def test_what_is_in_work_is_read_from_its_progress() -> None:
    """A joint message tells the time of all; one without a step tells nothing; cells of a message share a progress."""
    adapters = tuple(PlannedAdapter(name, name, "d", (), 0, 100, 0) for name in ("a", "b", "c"))
    shards = (Shard("test-000", QuestionSet.TEST, 0, 1, 10, "s0"),)
    for trainer, seconds_told, pace in (("joint", 80.0, 0.5), ("peft", 140.0, 0.875)):
        plan = replace(PLAN, adapters=adapters, shards=shards, bases=(replace(PLAN.bases[0], trainer=trainer),))
        held = Attempt("a", 1, "h", "w0", "r", "log", 2, 0.0)
        states = (
            UnitStatus(
                "a", "a", "", UnitState.RUNNING, 1, held, progress={"step": 20, "steps": 100, "seconds_left": 80.0}
            ),
            UnitStatus(
                "b", "b", "", UnitState.RUNNING, 1, held, progress={"step": 20, "steps": 100, "seconds_left": 60.0}
            ),
            UnitStatus("c", "c", "", UnitState.COMMITTED),
        )
        answering = Attempt("x", 1, "h", "w1", "r", "log2", 2, 0.0)
        progress = {"done": 5, "total": 20, "questions_per_second": 4.0}
        cells = (
            UnitStatus("a/test-000", "x", "", UnitState.WAITING),
            UnitStatus("b/test-000", "y", "", UnitState.FAILED),
            UnitStatus("c/test-000", "z", "", UnitState.RUNNING, 1, answering, progress=progress),
        )
        left = work_left(RunState(plan, Phase.RUNNING, states, cells, None))
        training, answers = left.in_work
        assert (training.names, training.units, training.told, training.pace) == (("a", "b"), 160.0, seconds_told, pace)
        assert (answers.worker, answers.names, answers.units) == ("w1", ("c/test-000",), 10.0)
        assert answers.pace == pytest.approx(0.25)
        assert left.answers == (AnswersLeft("a", "", 10.0),), "what failed is not left"
        assert left.messages == {"": 1}
