"""A home with a run on it, made by hand through the storage's own interface: what the tests of the command look at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy
from click.testing import CliRunner, Result
from safetensors.numpy import save_file

from cli.errors import explain
from cli.main import nonet_command
from nonet.engines.adapter_files import CONFIG, WEIGHTS
from nonet.questions.rows import read_problems
from nonet.runs.attempt import Attempts, ErrorClass, Outcome
from nonet.runs.plan import ADAPTERS, VOTES, Cell, Plan, QuestionSet, plan_from_json
from nonet.runs.result import write_result
from nonet.stores.home import Home
from nonet.stores.storage import Storage
from nonet.voting.aggregation import aggregate, spec_of
from nonet.voting.ballot import Ballot
from tasks.vote import body_of

BATCH = """\
name: hand
base: {model: ./base}
sources:
  official: {path: official.jsonl, labels: gold}
  extra:    {path: extra.jsonl, labels: model}
validation: {source: official, fraction: 0.5, seed: 0}
mixes:
  both: {use: [official, extra]}
  gold: {use: [official]}
  more: {use: [extra]}
training: {epochs: 2, batch_size: 1}
inference: {test: test.jsonl, shard_size: 2}
vote: {select: all}
"""


def row(name: str, answers: str, *, labelled: bool = True) -> dict[str, object]:
    """A problem with one question a letter of `answers`, each with three options."""
    questions = []
    for index, letter in enumerate(answers):
        question: dict[str, object] = {"question": f"question {index} of {name}?", "options": ["x", "y", "z"]}
        questions.append(question | ({"answer": letter} if labelled else {}))
    return {"id": name, "problem": f"The stem of {name}.", "questions": questions}


DEMO_BASE = Path(__file__).resolve().parent.parent / "models" / "demo-base"
TEST_ANSWERS = {"t0": "AB", "t1": "C", "t2": "AA", "t3": "B"}
"""Gold letters of the test by problem: 3 A, 2 B, 1 C."""


def write_files(folder: Path) -> Path:
    """The batch file with its data and a base (the demo's tokenizer, no weights); returns its path."""

    def write(name: str, rows: list[dict[str, object]]) -> None:
        lines = (json.dumps(found, ensure_ascii=False) + "\n" for found in rows)
        (folder / name).write_text("".join(lines), encoding="utf-8")

    write("official.jsonl", [row(f"o{index}", "AB") for index in range(4)])
    write("extra.jsonl", [row(f"e{index}", "C") for index in range(3)])
    write("test.jsonl", [row(name, letters, labelled=False) for name, letters in TEST_ANSWERS.items()])
    write("gold.jsonl", [row(name, letters) for name, letters in TEST_ANSWERS.items()])
    base = folder / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    save_file({"layer.weight": numpy.ones((2, 4), numpy.float32)}, base / "model.safetensors")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO_BASE / name, base)
    path = folder / "batch.yaml"
    path.write_text(BATCH, encoding="utf-8")
    return path


def write_adapter(folder: Path, value: float = 0.5) -> None:
    """A LoRA adapter of rank 1 on the one module `layer` of a base, in peft's format."""
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 2, "target_modules": ["layer"]}
    (folder / CONFIG).write_text(json.dumps(config))
    weights = {
        "base_model.model.layer.lora_A.weight": numpy.full((1, 4), value, numpy.float32),
        "base_model.model.layer.lora_B.weight": numpy.full((2, 1), value, numpy.float32),
    }
    save_file(weights, folder / WEIGHTS)


@dataclass
class CliHome:
    """The command on one home; `call` runs it in this process."""

    folder: Path
    batch: Path

    @property
    def home(self) -> Home:
        return Home((self.folder / "home").resolve())

    @property
    def storage(self) -> Storage:
        return Storage(self.home)

    @property
    def attempts(self) -> Attempts:
        return Attempts(self.home)

    def call(self, *arguments: str) -> Result:
        """Run `nonet --home … arguments`; `exit_code` and `stderr` are as `cli.main.main` would have them."""
        return self.called(str(self.folder / "home"), *arguments)

    def called(self, home: str, *arguments: str) -> Result:
        """`call` on the home at this address."""
        whole = ["--home", home, *arguments]
        result = CliRunner().invoke(nonet_command, whole, standalone_mode=False)
        error = result.exception
        if error is None:
            result.exit_code = int(result.return_value or 0)
            return result
        explained = explain(error)
        if explained is None:
            raise error
        message, result.exit_code = explained
        result.stderr_bytes = (result.stderr_bytes or b"") + message.encode()
        return result

    def submit(self) -> Plan:
        done = self.call("submit", str(self.batch))
        assert done.exit_code == 0, done.stderr
        (run,) = self.home.runs.iterdir()
        return plan_from_json((run / "plan.json").read_bytes())

    def train(self, plan: Plan, *names: str) -> None:
        """Commit the adapters with `names` (every one where there is none)."""
        for adapter in plan.adapters:
            if not names or adapter.name in names:
                self.begin(adapter.key, adapter.name)
                folder = self.storage.staging(adapter.key, 1)
                write_adapter(folder, 1.0 + plan.adapters.index(adapter))
                base = plan.base_of(adapter)
                body = {"base": base.model.told(), "input": adapter.input, "recipe": dict(base.recipe), "training": {}}
                self.storage.publish(ADAPTERS, adapter.key, 1, folder=folder, body=body)
                self.attempts.end(adapter.key, 1, Outcome.COMMITTED)

    def answer(self, plan: Plan, letters: Mapping[str, str], *sets: QuestionSet) -> None:
        """Commit ballots on the shards of `sets` (all): each adapter answers every question with its letter."""
        for cell in plan.cells:
            if not sets or cell.shard.set in sets:
                self.cast(plan, cell, letters[cell.adapter.name])

    def cast(self, plan: Plan, cell: Cell, letter: str) -> None:
        problems, _ = read_problems(self.storage.input_path(plan.inputs[cell.shard.set]), labelled=False)
        questions = [q for p in problems[cell.shard.start : cell.shard.stop] for q in p.questions]
        ballots = [Ballot(q.id, letter, ()).to_json() for q in questions]
        self.storage.publish(cell.scope, cell.key, 1, body={"ballots": ballots, "shard": cell.shard.name})

    def vote(self, plan: Plan) -> None:
        """Vote as the task of that name does: the result in the run's folder, then the commit."""
        result = aggregate(self.storage, plan, spec_of(plan))
        write_result(self.home, plan, result.submission, result.manifest)
        self.storage.publish(VOTES, result.key, 1, body=body_of(result))

    def finish(self, letters: Mapping[str, str]) -> Plan:
        """Submit, and commit everything: each adapter answers every question with its letter."""
        plan = self.submit()
        self.train(plan)
        self.answer(plan, letters)
        self.vote(plan)
        return plan

    def begin(self, key: str, log: str = "", run: str = "hand") -> int:
        """Begin an attempt at `key` for `run` that logs `log`; returns its epoch."""
        epoch = self.attempts.latest(key) + 1
        path = self.home.log(key, epoch)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(log)
        assert self.attempts.begin(key, host="here", worker="w0@here", run=run, log=path, group=1)
        return epoch

    def fail(
        self,
        key: str,
        error_class: ErrorClass = ErrorClass.BAD_INPUT,
        error: str = "it cannot be",
        run: str = "hand",
    ) -> None:
        """One failed attempt at `key` for `run`."""
        epoch = self.begin(key, f"log of attempt {self.attempts.latest(key) + 1}\n", run)
        self.attempts.end(key, epoch, Outcome.FAILED, error_class, error)
