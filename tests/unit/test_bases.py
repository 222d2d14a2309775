"""Several bases in one batch: names, keys, what each sets of its own, messages of one base, plans from before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from config.batch import Batch, load_batch
from config.queues import INFER_TASK, Queue
from nonet.questions.defect import Defect, DefectsError
from nonet.questions.mix import content_bytes
from nonet.runs.attempt import Attempts
from nonet.runs.plan import ADAPTERS, BaseModel, Plan, PlannedAdapter, Stacks, plan_from_json, told_bases
from nonet.stores.home import Home
from nonet.stores.key import digest, key_of
from nonet.stores.storage import Storage
from scheduler.inflight import UnknownInFlight
from scheduler.plan import draft
from scheduler.reconcile import reconcile, rerun_units
from scheduler.state import StateReader
from tests.small_batch import write_batch

ONE = "base: {model: org/one}"
TWO = """\
bases:
  one: {model: org/one}
  two: {model: org/two, revision: main, dtype: float16,
        training: {epochs: 1, stack: volta}, inference: {engine: vllm, stack: gpu}}
"""
MODELS = [BaseModel(f"org/{name}", None, f"/{name}", name[0] * 64) for name in ("one", "two")]
Load = Callable[..., Batch]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The small batch with other bases and other changes."""

    def load_changed(bases: str, *changes: tuple[str, str]) -> Batch:
        path = write_batch(tmp_path, rows=4, test_rows=4)
        lines = path.read_text("utf-8").splitlines(keepends=True)
        text = "".join(bases.strip() + "\n" if line.startswith("base:") else line for line in lines)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text, "utf-8")
        return load_batch(path)

    return load_changed


def planned(batch: Batch) -> Plan:
    return draft(batch, MODELS[: len(batch.bases)], "transformers").plan


def refused(load: Load, bases: str, *changes: tuple[str, str]) -> tuple[Defect, ...]:
    with pytest.raises(DefectsError) as caught:
        load(bases, *changes)
    return caught.value.defects


def test_each_base_has_what_the_sections_say_and_what_it_sets_of_its_own(load: Load) -> None:
    one, two = load(TWO, ("epochs: 2", "epochs: 2, stack: cpu")).bases
    assert (one.recipe.epochs, one.train_stack, one.inference.engine, one.dtype) == (2, "cpu", "auto", None)
    assert (two.recipe.epochs, two.train_stack, two.inference.engine, two.dtype) == (1, "volta", "vllm", "float16")
    assert (two.revision, two.inference.stack) == ("main", "gpu")
    assert replace(two.recipe, epochs=2) == one.recipe
    assert two.inference.shard_size == one.inference.shard_size == 5


def test_every_mix_is_trained_over_every_base(load: Load) -> None:
    plan = planned(load(TWO))
    assert [a.name for a in plan.adapters] == ["all@one", "part@one", "all@two", "part@two"]
    assert len({a.key for a in plan.adapters}) == 4
    assert len(plan.cells) == 4 * len(plan.shards)
    assert {plan.base_of(a).model.digest[0] for a in plan.adapters if a.name.endswith("@two")} == {"t"}
    assert plan.adapters[0].steps == 2 * plan.adapters[2].steps, "two has one epoch"


def test_one_base_has_the_keys_that_it_has_among_others(load: Load) -> None:
    alone, beside = planned(load(ONE)), planned(load(TWO))
    assert [a.name for a in alone.adapters] == ["all", "part"]
    assert [a.key for a in alone.adapters] == [a.key for a in beside.adapters[:2]]
    assert {c.key for c in alone.cells} < {c.key for c in beside.cells}
    assert [a.name for a in planned(load("bases: {one: {model: org/one}}")).adapters] == ["all", "part"]


def test_a_stack_changes_no_key_and_makes_another_run(load: Load) -> None:
    plain = planned(load(ONE))
    stacked = planned(load(ONE, ("epochs: 2", "epochs: 2, stack: volta"), ("engine: auto", "engine: auto, stack: gpu")))
    assert stacked.bases[0].stacks == Stacks("volta", "gpu")
    assert [a.key for a in stacked.adapters] == [a.key for a in plain.adapters]
    assert [c.key for c in stacked.cells] == [c.key for c in plain.cells]
    assert stacked.run != plain.run


def test_a_trainer_is_that_of_its_base_and_changes_no_key(load: Load) -> None:
    plain, mixed = planned(load(TWO)), planned(load(TWO, ("epochs: 1", "epochs: 1, trainer: joint")))
    assert [base.trainer for base in mixed.bases] == ["peft", "joint"]
    assert [a.key for a in mixed.adapters] == [a.key for a in plain.adapters]
    assert mixed.run != plain.run


def test_grouped_steps_make_other_adapters_in_fewer_steps(load: Load) -> None:
    batch = load(ONE)
    plain, grouped = planned(batch), planned(load(ONE, ("epochs: 2", "epochs: 2, grouped: true")))
    assert {a.key for a in plain.adapters}.isdisjoint(a.key for a in grouped.adapters)
    stems = [len({e.stem for e in batch.mixes[a.name].examples}) for a in grouped.adapters]
    assert [a.steps for a in grouped.adapters] == [2 * -(-count // 4) for count in stems]
    assert all(g.steps < p.steps for g, p in zip(grouped.adapters, plain.adapters, strict=True))


def test_joint_training_is_refused_over_bases_that_it_is_not_for(load: Load, tmp_path: Path) -> None:
    folder = tmp_path / "recurrent"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "rwkv"}')
    (defect,) = refused(load, f"base: {{model: {folder}}}", ("epochs: 2", "epochs: 2, trainer: joint"))
    assert defect.place.endswith("training.trainer")
    assert "'rwkv'" in defect.message
    assert defect.remedy == "Write trainer: peft."
    load(f"base: {{model: {folder}}}")
    load(
        f"bases: {{one: {{model: {folder}, training: {{trainer: peft}}}}}}", ("epochs: 2", "epochs: 2, trainer: joint")
    )


def test_a_dtype_is_in_the_keys(load: Load) -> None:
    plain, half = planned(load(ONE)), planned(load("base: {model: org/one, dtype: float16}"))
    assert {a.key for a in plain.adapters}.isdisjoint(a.key for a in half.adapters)


@pytest.mark.parametrize("bases", [ONE, TWO], ids=["one", "two"])
def test_a_plan_comes_back_from_its_json(load: Load, bases: str) -> None:
    plan = planned(load(bases))
    assert plan_from_json(plan.to_json()) == plan


def test_the_keys_of_one_base_are_what_they_were_before_there_could_be_several(load: Load) -> None:
    """Written out: another set of inputs would be computed again."""
    batch = load(ONE)
    plan = planned(batch)
    recipe = {k: v for k, v in batch.bases[0].recipe.to_json().items() if k != "checkpoint_every"}
    prompt = batch.prompt.to_json()
    examples = digest(content_bytes(batch.mixes["all"].examples))
    inputs = {"base": "o" * 64, "examples": examples, "recipe": recipe, "prompt": prompt}
    assert plan.adapters[0].key == key_of("adapter", inputs)
    asked = {
        "adapter": plan.adapters[0].key,
        "shard": plan.shards[0].digest,
        "prompt": prompt,
        "engine": "transformers",
        "inference": {"answer": "letter", "max_tokens": 1},
        "max_length": 512,
    }
    assert plan.cells[0].key == key_of("ballots", asked)


def test_results_name_one_base_or_all_of_them(load: Load) -> None:
    model = {"model": "org/one", "revision": None, "digest": "o" * 64}
    assert told_bases(planned(load(ONE))) == {"base": model}
    told = told_bases(planned(load(TWO)))["bases"]
    assert told["one"] == model
    assert list(told) == ["one", "two"]


@pytest.mark.parametrize(
    ("bases", "place", "message", "remedy"),
    [
        ("", "line 1, base", "the key is missing", "or bases"),
        (ONE + "\n" + TWO, "line 3, bases", "base or bases, not both", "Move base into bases"),
        ("bases: {}", "line 2, bases", "must not be empty", "at least one"),
        ("bases:\n  a: {model: ./none}", "line 3, bases.a.model", "no model is there", "config.json"),
        ("bases:\n  a: {model: a/b/c}", "line 3, bases.a.model", "neither a Hub name", "owner/name"),
        ("bases:\n  a/b: {model: o/m}", "line 3, bases.a/b", "not a plain name", "Use letters"),
        ("bases:\n  a: {model: o/m}\n  A: {model: o/n}", "line 4, bases.A", "in case alone", "Rename"),
        ("bases:\n  a: {model: o/m}\n  a: {model: o/n}", "line 4, bases.a", "two bases have one name", "Rename"),
        (
            "bases:\n  a: {model: o/m, training: {rnk: 8}}",
            "line 3, bases.a.training.rnk",
            "unknown",
            "Did you mean 'ra",
        ),
        ("bases:\n  a: {model: o/m, training: {rank: 0}}", "line 3, bases.a.training.rank", "at least 1", "another"),
        ("bases:\n  a: {model: o/m, inference: {test: x}}", "line 3, bases.a.inference.test", "unknown", "engine"),
        (
            "bases:\n  a: {model: o/m, inference: {max_tokens: 9}}",
            "line 3, bases.a.inference.max_tokens",
            "one tok",
            "te",
        ),
        (
            "base: {model: o/m, dtype: int8}",
            "line 2, base.dtype",
            "must be 'float16', 'bfloat16' or 'float32'",
            "one of",
        ),
        (
            "base: {model: o/m, merge: true}",
            "line 2, base.merge",
            "unknown key",
            "adapters are never merged into a base",
        ),
    ],
)
def test_a_defect_of_the_bases_is_told(load: Load, bases: str, place: str, message: str, remedy: str) -> None:
    found = [d for d in refused(load, bases) if d.place == place and message in d.message]
    assert found, "\n".join(map(str, refused(load, bases)))
    assert remedy in found[0].remedy


def test_all_defects_of_several_bases_come_in_one_go(load: Load) -> None:
    bases = "bases:\n  a: {model: ./none}\n  b: {model: o/m, training: {rank: x}}\n  c: {}"
    told = [d.place for d in refused(load, bases, ("select: all", "select: [all@a, all@d]"))]
    assert told == [
        "line 3, bases.a.model",
        "line 4, bases.b.training.rank",
        "line 5, bases.c.model",
        "line 17, vote.select[1]",
    ]


def test_a_vote_names_adapters_and_counts_all_of_them(load: Load) -> None:
    assert load(TWO, ("select: all", "select: [all@one, part@two]")).vote.select == ("all@one", "part@two")
    assert load(TWO, ("select: all", "select: validation, members: 4")).vote.members == 4
    (defect,) = refused(load, TWO, ("select: all", "select: [all]"))
    assert defect.message == "no adapter has this name"
    assert "all@one" in defect.remedy
    (defect,) = refused(load, TWO, ("select: all", "select: validation, members: 5"))
    assert defect.message == "only 4 can vote"


def test_two_bases_that_make_the_same_adapters_are_refused(load: Load) -> None:
    batch = load("bases:\n  a: {model: o/m}\n  b: {model: o/m, training: {checkpoint_every: 9}}")
    with pytest.raises(DefectsError, match=r"bases\.b") as caught:
        draft(batch, [MODELS[0], MODELS[0]], "transformers")
    assert caught.value.defects[0].message == "makes the same adapters as 'a'"


def test_a_message_asks_for_adapters_of_one_base(load: Load, tmp_path: Path) -> None:
    plan = planned(load(TWO))
    storage, attempts = Storage(Home(tmp_path / "home")), Attempts(Home(tmp_path / "home"))
    for adapter in plan.adapters:
        storage.publish(ADAPTERS, adapter.key, 1, body={})
    state = StateReader(storage, attempts, UnknownInFlight(), 3).read(plan)
    messages = reconcile(state, dict.fromkeys(Queue, 0), 16).messages
    infer = [message for message in messages if message.task == INFER_TASK]
    assert len(infer) == 2 * len(plan.shards)
    adapter_of = {cell.key: cell.adapter for cell in plan.cells}
    bases = [{adapter_of[key].base for key in message.keys} for message in infer]
    assert bases == [{"one"}] * len(plan.shards) + [{"two"}] * len(plan.shards), "base by base: one warm load each"
    assert "adapters=all@one, part@one" in infer[0].label
    meant = rerun_units(state, failed=False, adapters=["part@two"], shards=[])
    assert {unit.name for unit in meant} == {f"part@two/{shard.name}" for shard in plan.shards}


def test_names_of_adapters_are_safe(load: Load) -> None:
    names = [a.name for a in planned(load(TWO)).adapters]
    assert all("/" not in name and not set(name) & set(" '\"$*?") for name in names)
    assert isinstance(planned(load(TWO)).adapters[0], PlannedAdapter)
