"""Measure the demo: the base alone, each mix's adapter, and their vote, over several seeds, against the test's gold.

Run from the repository's root: `python -m models.make.evaluate [--seeds 0 1 2]`. Trains with the system's own lessons,
order and loss, but keeps everything in memory; prints accuracies per seed and seconds per question.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nonet.adapters.recipe import Recipe
from nonet.adapters.training import (
    CLIP,
    Lesson,
    answer_loss,
    batches,
    fresh_adapter,
    hidden_states,
    learning_rate,
    vocabulary_logits,
)
from nonet.bases.base import Base, load_base
from nonet.questions.mix import Example, Mix, Use, draw
from nonet.questions.problem import Problem
from nonet.questions.prompt import Prompt
from nonet.questions.rows import read_problems
from nonet.questions.split import split_by_stem
from nonet.questions.tokens import letter_ids, prompt_ids

BATCH = Path("config/batches/demo.yaml")


@dataclass(frozen=True)
class Exam:
    """The test: per question its prompt's ids, its letters' ids and the gold letter's place."""

    prompts: list[tuple[int, ...]]
    letters: list[tuple[int, ...]]
    gold: list[int]

    @property
    def chance(self) -> float:
        """The expected share of hits of a blind guess."""
        return sum(1 / len(letters) for letters in self.letters) / len(self.letters)


def read_arguments() -> argparse.Namespace:
    """Read the command line; what is given replaces the batch file's value."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--mixes", nargs="+", help="only these")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def read_sources(batch: dict[str, Any]) -> tuple[dict[str, Sequence[Problem]], set[str]]:
    """The batch's sources, and the validation's stems."""
    sources: dict[str, Sequence[Problem]] = {
        name: read_problems(BATCH.parent / entry["path"], labelled=True)[0] for name, entry in batch["sources"].items()
    }
    split = batch["validation"]
    aside = split_by_stem(sources[split["source"]], split["fraction"], split["seed"])[1]
    return sources, {problem.stem for problem in aside}


def read_mix(name: str, entry: dict[str, Any]) -> Mix:
    """A mix of the batch file (plain source names only)."""
    return Mix(name, tuple(Use(source) for source in entry["use"]), entry.get("sample"), entry.get("seed", 0))


def encode_exam(base: Base, prompt: Prompt, gold: Sequence[Problem], max_length: int) -> Exam:
    """Encode the test as the system does."""
    exam = Exam([], [], [])
    for problem in gold:
        for question in problem.questions:
            found = prompt_ids(base.tokenizer, prompt, problem.stem, question.text, question.options, max_length)
            exam.prompts.append(found.ids)
            exam.letters.append(letter_ids(base.tokenizer, "ABCDEFGHIJ"[: len(question.options)]))
            exam.gold.append("ABCDEFGHIJ".index(question.gold or "A"))
    return exam


def encode_lessons(base: Base, prompt: Prompt, examples: Sequence[Example], max_length: int) -> list[Lesson]:
    """Encode a mix as the system does."""
    lessons = []
    for example in examples:
        found = prompt_ids(base.tokenizer, prompt, example.stem, example.question, example.options, max_length)
        lessons.append(Lesson(found.ids, letter_ids(base.tokenizer, example.letter)))
    return lessons


def train(base: Base, lessons: Sequence[Lesson], recipe: Recipe) -> Any:
    """Train one adapter; returns the wrapped model."""
    import torch

    wrapped = fresh_adapter(base.model, recipe)
    weights = [weight for weight in wrapped.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.0)
    step, steps = 0, recipe.steps(len(lessons))
    for epoch in range(recipe.epochs):
        for chosen in batches(len(lessons), recipe, epoch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step, steps)
            answer_loss(wrapped, [lessons[place] for place in chosen], "cpu").backward()
            torch.nn.utils.clip_grad_norm_(weights, CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
    wrapped.eval()
    return wrapped


def answer(model: Any, exam: Exam) -> list[int]:
    """The place of the likeliest letter of each question."""
    import torch

    answers = []
    with torch.inference_mode():
        for ids, letters in zip(exam.prompts, exam.letters, strict=True):
            logits = vocabulary_logits(model, hidden_states(model, torch.tensor([ids]))[:, -1])[0]
            answers.append(int(logits[list(letters)].argmax()))
    return answers


def accuracy(answers: Sequence[int], exam: Exam) -> float:
    """Share of hits."""
    return sum(one == gold for one, gold in zip(answers, exam.gold, strict=True)) / len(exam.gold)


def vote(members: Sequence[Sequence[int]]) -> list[int]:
    """Plain majority; a tie goes to the letter that the earliest member named."""
    return [Counter(cast).most_common(1)[0][0] for cast in zip(*members, strict=True)]


def main() -> None:
    """Print the table."""
    import torch
    import yaml

    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    batch = yaml.safe_load(BATCH.read_text("utf-8"))
    given = {name: getattr(arguments, name) for name in ("learning_rate", "epochs", "batch_size")}
    settings = batch["training"] | {name: value for name, value in given.items() if value is not None}
    recipe = Recipe(**{**settings, "targets": tuple(settings["targets"])})
    prompt = Prompt(**batch["prompt"])
    base = load_base(str(BATCH.parent / batch["base"]["model"]), "cpu")
    sources, aside = read_sources(batch)
    test = BATCH.parent / batch["inference"]["test"]
    gold = read_problems(test.with_name("test_gold.jsonl"), labelled=True)[0]
    exam = encode_exam(base, prompt, gold, recipe.max_length)
    alone = accuracy(answer(base.model, exam), exam)
    print(f"{len(exam.gold)} questions, chance {exam.chance:.3f}, base {alone:.3f}", flush=True)
    names = arguments.mixes or list(batch["mixes"])
    for seed in arguments.seeds:
        members = []
        for name in names:
            examples = draw(read_mix(name, batch["mixes"][name]), sources, aside)
            lessons = encode_lessons(base, prompt, examples, recipe.max_length)
            began = time.monotonic()
            model = train(base, lessons, replace(recipe, seed=seed))
            trained = (time.monotonic() - began) / (len(lessons) * recipe.epochs)
            began = time.monotonic()
            members.append(answer(model, exam))
            answered = (time.monotonic() - began) / len(exam.gold)
            model.unload()
            print(
                f"seed {seed} {name}: {len(lessons)} questions, accuracy {accuracy(members[-1], exam):.3f}, "
                f"{trained:.3f} s a question trained, {answered:.3f} s answered",
                flush=True,
            )
        median = statistics.median(accuracy(member, exam) for member in members)
        print(f"seed {seed}: median {median:.3f}, vote {accuracy(vote(members), exam):.3f}", flush=True)


if __name__ == "__main__":
    main()
