"""What grouped steps cost or gain in accuracy: the demo's base and a mix of its data, several seeds, paired.

    python -m bench.grouped run exact/1 grouped/1 --seeds 0 1 2 3 4 --save grouped.jsonl
    python -m bench.grouped table --save grouped.jsonl

Run with the Python of the stack `cpu`, from the root of the checkout. An arm is its kind of step and its batch size,
in questions (`exact`) or in stems with all their questions (`grouped`); all else is the demo's recipe. The adapters of
an arm differ in their seeds and are trained jointly; each is then asked every question of the validation and of the
demo's test, none of which is in the mix. `run` adds a line for each adapter to the file, and leaves out what is there;
stopped, it goes on from its checkpoints when it is started again.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from config.batch import Batch, load_batch
from nonet.adapters.joint import JointWatch, Learned, train_jointly
from nonet.adapters.recipe import Recipe
from nonet.adapters.training import Course, Lesson, Trained, hidden_states, vocabulary_logits
from nonet.bases.base import Base, load_base
from nonet.questions.problem import Problem
from nonet.questions.rows import read_problems
from nonet.questions.tokens import letter_ids, prompt_ids, reply_ids
from nonet.voting.statistics import PairedTest, paired_test

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "config" / "batches" / "demo.yaml"
GOLD = ROOT / "data" / "demo" / "test_gold.jsonl"
MIX = "official-hand"
NAME = "demo-base"


@dataclass(frozen=True, slots=True)
class Asked:
    """A held-out question in tokens: prompt `ids`, the tokens of its letters, and the place of the right one."""

    ids: tuple[int, ...]
    letters: tuple[int, ...]
    right: int


def recipe_of(arm: str, seed: int, shared: Recipe) -> Recipe:
    """The recipe of an arm ("exact/4", "grouped/1"); raises ValueError."""
    kind, _, size = arm.partition("/")
    if kind not in ("exact", "grouped") or not size.isdigit() or size == "0":
        raise ValueError(f"an arm is exact/QUESTIONS or grouped/STEMS, not {arm!r}")
    return replace(shared, grouped=kind == "grouped", batch_size=int(size), seed=seed, checkpoint_every=25)


def lessons_of(batch: Batch, base: Base, length: int) -> tuple[Lesson, ...]:
    """The mix in tokens."""
    found = []
    for example in batch.mixes[MIX].examples:
        encoded = prompt_ids(base.tokenizer, batch.prompt, example.stem, example.question, example.options, length)
        reply = reply_ids(base.tokenizer, batch.prompt, example.letter)
        found.append(Lesson(encoded.ids, reply, example.stem))
    return tuple(found)


def held_out(batch: Batch, base: Base, length: int) -> Iterator[Asked]:
    """The questions of the validation, then those of the demo's test."""
    gold, defects = read_problems(GOLD, labelled=True)
    assert not defects, defects
    problems: Sequence[Problem] = (*batch.validation, *gold)
    for problem in problems:
        for question in problem.questions:
            encoded = prompt_ids(base.tokenizer, batch.prompt, problem.stem, question.text, question.options, length)
            letters = letter_ids(base.tokenizer, question.letters)
            assert question.gold is not None
            yield Asked(encoded.ids, letters, question.letters.index(question.gold))


def hits(base: Base, learned: Learned, asked: Sequence[Asked]) -> list[bool]:
    """For each question whether the likeliest letter is the right one."""
    import torch

    found = []
    with torch.inference_mode():
        for ask in asked:
            with learned.worn(len(ask.ids)):
                hidden = hidden_states(base.model, torch.tensor([ask.ids]))[:, -1]
            logits = vocabulary_logits(base.model, hidden)[0, list(ask.letters)]
            found.append(int(logits.argmax()) == ask.right)
    return found


def run(arm: str, seeds: Sequence[int], save: Path, threads: int) -> None:
    """Train and ask the adapters of an arm."""
    import torch

    torch.set_num_threads(threads)
    batch = load_batch(DEMO)
    shared = batch.bases[0].recipe
    base = load_base(str(ROOT / "models" / NAME), "cpu")
    lessons = lessons_of(batch, base, shared.max_length)
    asked = tuple(held_out(batch, base, shared.max_length))
    begun = time.process_time()

    def done(number: int, trained: Trained, learned: Learned) -> None:
        row = {
            "arm": arm,
            "seed": seeds[number],
            "steps": trained.step,
            "loss": round(statistics.fmean(loss for _, loss, _ in trained.losses[-20:]), 4),
            "hits": [int(hit) for hit in hits(base, learned, asked)],
            "validation": sum(len(problem.questions) for problem in batch.validation),
            "cpu_seconds": round(time.process_time() - begun, 1),
        }
        with save.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print({name: value for name, value in row.items() if name != "hits"}, flush=True)

    def nothing(*_: Any) -> None: ...

    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    folder = save.with_suffix(".checkpoints") / arm.replace("/", "-")
    courses = [Course(lessons, recipe_of(arm, seed, shared), folder / str(seed), f"{arm} {seed}") for seed in seeds]
    watch = JointWatch(nothing, nothing, nothing, done, nothing, stopped.is_set)
    train_jointly(base.model, courses, watch, together=True)
    if stopped.is_set():
        raise SystemExit("stopped; the same command goes on from the checkpoints")


def read(save: Path) -> dict[str, dict[int, Mapping[str, Any]]]:
    """What was saved: arm → seed → row."""
    rows = [json.loads(line) for line in save.read_text("utf-8").splitlines()] if save.exists() else []
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["arm"], {})[row["seed"]] = row
    return found


def accuracy(row: Mapping[str, Any], *, validation: bool = False) -> float:
    """The part of the held-out questions (of the validation alone) that an adapter answers rightly."""
    return statistics.fmean(row["hits"][: row["validation"]] if validation else row["hits"])


def compared(first: Mapping[int, Mapping[str, Any]], second: Mapping[int, Mapping[str, Any]]) -> PairedTest:
    """McNemar's test over all questions of all seeds that both have."""
    seeds = sorted(first.keys() & second.keys())
    return paired_test(
        (bool(a), bool(b)) for seed in seeds for a, b in zip(first[seed]["hits"], second[seed]["hits"], strict=True)
    )


def table(found: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> Iterator[str]:
    """Accuracies by arm and seed, and every two arms beside each other."""
    yield "| arm | steps | accuracy by seed | mean | of the validation alone |"
    yield "| --- | --- | --- | --- | --- |"
    for arm, rows in found.items():
        each = [accuracy(rows[seed]) for seed in sorted(rows)]
        alone = statistics.fmean(accuracy(row, validation=True) for row in rows.values())
        steps = {row["steps"] for row in rows.values()}
        by_seed = ", ".join(f"{value:.4f}" for value in each)
        yield f"| {arm} | {', '.join(map(str, steps))} | {by_seed} | {statistics.fmean(each):.4f} | {alone:.4f} |"
    for first, second in combinations(found, 2):
        seeds = sorted(found[first].keys() & found[second].keys())
        differences = [accuracy(found[second][seed]) - accuracy(found[first][seed]) for seed in seeds]
        test = compared(found[first], found[second])
        spread = statistics.stdev(differences) if len(differences) > 1 else float("nan")
        yield ""
        yield (
            f"{second} - {first}: {statistics.fmean(differences):+.4f} in the mean of {len(seeds)} seeds (standard "
            f"deviation {spread:.4f}); right alone {test.only_second} and {test.only_first} times, p = {test.p:.3g}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("arms", nargs="*", default=["exact/1", "grouped/1"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--save", type=Path, required=True, help="JSON Lines file, added to")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "run":
        for arm in arguments.arms:
            missing = [seed for seed in arguments.seeds if seed not in read(arguments.save).get(arm, {})]
            if missing:
                run(arm, missing, arguments.save, arguments.threads)
    for line in table(read(arguments.save)):
        print(line)


if __name__ == "__main__":
    main()
