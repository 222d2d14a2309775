"""The arms of `bench.inference`, run by the Python of a stack: `python -m bench.inference_arms ARM FOLDER …`.

A process has one arm: it loads, says {"ready": …} and answers each line that it reads, {"seed", "questions",
"problems", "members"}, with what the work took. `prepare` writes a random base and adapters into FOLDER instead.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from bench.matrix_peak import matrix_peak
from nonet.adapters.lora import file_name
from nonet.adapters.tree import tree_of
from nonet.bases.base import base_architecture
from nonet.compute.allocator import keep_freed_memory
from nonet.compute.peak import peak_memory, reset_peak
from nonet.compute.waves import until_decided
from nonet.engines import Adapter, Ask, Cast, Engine, Reply
from nonet.engines.adapter_files import CONFIG, WEIGHTS
from nonet.voting.decided import Polls

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RANK, ALPHA = 8, 32
LETTERS, LETTER_IDS = "ABCD", (32, 33, 34, 35)
VOCABULARY = 1000
"""Tokens that prompts are drawn from; every base has as many."""
BASE = "base"
AGREEMENT = 0.85
"""How often a member of O3 says the right letter."""
Clock = Callable[[int], None]
"""Told each time that a member is through: how many are."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tokens of a stem, and of a question with its options."""

    stem: int
    question: int


def drawn_asks(seed: str, problems: int, questions: int, sizes: Sizes) -> list[Ask]:
    """Problems of random tokens, other ones for each seed, so that no cache knows them."""
    random = Random(seed)

    def tokens(count: int) -> list[int]:
        return random.choices(range(36, VOCABULARY), k=count)

    asks = []
    for problem in range(problems):
        stem = tokens(sizes.stem)
        for question in range(questions):
            ids = (*stem, *tokens(sizes.question))
            asks.append(Ask(f"{problem}#{question}", ids, LETTERS, LETTER_IDS))
    return asks


def adapters_in(folder: Path, members: int) -> list[Adapter]:
    return [Adapter(f"a{number}", str(folder / f"a{number}")) for number in range(members)]


def prepare(folder: Path, shape: str, members: int) -> dict[str, Any]:
    """Write what is missing of base and adapters; returns the base's size and its output layer's share of it."""
    import torch
    from safetensors.torch import save_file

    from models.make.random_base import SHAPES, write_base
    from nonet.bases.base import base_shapes

    if not (folder / BASE).exists():
        write_base(folder / BASE, SHAPES[shape], 0)
    modules = base_shapes(str(folder / BASE))
    generator = torch.Generator().manual_seed(0)
    for adapter in adapters_in(folder, members):
        Path(adapter.path).mkdir(exist_ok=True)
        weights: dict[str, Any] = {}
        for name, (inputs, outputs) in modules.items():
            if name.rpartition(".")[2] in TARGETS:
                a, b = (torch.randn(size, generator=generator) * 0.02 for size in ((RANK, inputs), (outputs, RANK)))
                weights |= {file_name(name, "A"): a, file_name(name, "B"): b}
        save_file(weights, Path(adapter.path) / WEIGHTS)
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "bias": "none"}
        config |= {"target_modules": list(TARGETS), "base_model_name_or_path": None, "inference_mode": True}
        (Path(adapter.path) / CONFIG).write_text(json.dumps(config), "utf-8")
    sizes = base_architecture(str(folder / BASE))
    return {"parameters": sizes.parameters, "output": sizes.vocabulary * sizes.hidden}


class PlainLoop:
    """What users do: transformers and peft, one prompt after another, one adapter after another, whole logits."""

    def __init__(self, folder: Path, device: str, members: int, *, resident: bool) -> None:
        """All adapters are loaded beforehand; on a CPU in float32, the fastest of stock's types."""
        import peft
        import torch
        from transformers import AutoModelForCausalLM

        from nonet.bases.base import load_base
        from nonet.bases.stack import read_lora_config

        adapters = adapters_in(folder, members)
        if resident:
            base = load_base(str(folder / BASE), device).model
        else:
            numbers = torch.float32 if device == "cpu" else torch.float16
            base = AutoModelForCausalLM.from_pretrained(folder / BASE, dtype=numbers, device_map={"": device})
        for adapter in adapters:
            config = read_lora_config(json.loads((Path(adapter.path) / CONFIG).read_text("utf-8")))
            if adapter is adapters[0]:
                self._model = peft.PeftModel.from_pretrained(base, adapter.path, adapter.name, config=config)
            else:
                self._model.load_adapter(adapter.path, adapter.name)
        self._model.eval()
        self._device = device

    def run(self, adapters: Sequence[Adapter], asks: Sequence[Ask], clock: Clock) -> None:
        import torch

        with torch.inference_mode():
            for number, adapter in enumerate(adapters, start=1):
                self._model.set_adapter(adapter.name)
                for ask in asks:
                    logits = self._model(input_ids=torch.tensor([ask.ids], device=self._device)).logits[0, -1]
                    logits[list(ask.letter_ids)].float().log_softmax(0).tolist()
                clock(number)

    def tokens(self, asks: Sequence[Ask]) -> float:
        """Tokens that go through the layers for one member."""
        return sum(len(ask.ids) for ask in asks)


class OwnEngine:
    """One of Nonet's engines, as a worker uses it: adapters are read from disk."""

    def __init__(self, engine: Engine, tokens: Callable[[Sequence[Ask]], float]) -> None:
        self._engine = engine
        self._tokens = tokens
        self._cached = 0

    def run(self, adapters: Sequence[Adapter], asks: Sequence[Ask], clock: Clock) -> None:
        self._cached = 0
        casts = self._engine.answer(adapters, asks, Reply("letter", 1), lambda *_: None)
        for number, cast in enumerate(casts, start=1):
            if cast.failure is not None:
                raise RuntimeError(cast.failure)
            self._cached += cast.cached
            clock(number)
        self._cached //= len(adapters)

    def tokens(self, asks: Sequence[Ask]) -> float:
        return self._tokens(asks) - self._cached


class Decided(OwnEngine):
    """O1 that stops when decided, by Nonet's own waves (`nonet.compute.waves`). Random weights agree on nothing, so
    what a member says is drawn: the right letter with probability `agreement`, else any other.
    """

    def __init__(self, engine: Engine, agreement: float) -> None:
        super().__init__(engine, lambda asks: sum(len(ask.ids) for ask in asks))
        self._agreement = agreement
        self._computed = 0.0

    def run(self, adapters: Sequence[Adapter], asks: Sequence[Ask], clock: Clock) -> None:
        random, self._computed = Random(asks[0].ids[0]), 0.0
        right = {ask.question_id: random.choice(ask.letters) for ask in asks}

        def said(question: str) -> str:
            others = [letter for letter in LETTERS if letter != right[question]]
            return right[question] if random.random() < self._agreement else random.choice(others)

        def one_pass(chosen: Sequence[Adapter], asked: Sequence[Ask]) -> Iterator[Cast]:
            for cast in self._engine.answer(chosen, asked, Reply("letter", 1), lambda *_: None):
                if cast.failure is not None:
                    raise RuntimeError(cast.failure)
                self._computed += self._tokens(asked) - cast.cached
                yield replace(cast, ballots=tuple(replace(b, letter=said(b.question_id)) for b in cast.ballots))

        polls = Polls({ask.question_id: ask.letters for ask in asks}, [(adapter.name, 1.0) for adapter in adapters])
        for number, _ in enumerate(until_decided(one_pass, adapters, asks, polls, lambda _: None), start=1):
            clock(number)
        self._computed /= len(adapters)

    def tokens(self, asks: Sequence[Ask]) -> float:
        return self._computed


def loaded(arm: str, folder: Path, device: str, members: int, threads: int, sizes: Sizes) -> PlainLoop | OwnEngine:
    base = str(folder / BASE)
    if arm in ("N", "R"):
        return PlainLoop(folder, device, members, resident=arm == "R")
    if arm == "O2":
        from nonet.bases.base import load_base
        from nonet.engines.transformers import TransformersEngine

        return OwnEngine(TransformersEngine(load_base(base, device)), lambda asks: _tree_tokens(asks, base))
    from nonet.engines import vllm

    slots = 1 if arm == "U" else members
    engine = vllm.VllmEngine(base, device, vllm.Sizes(sizes.stem + sizes.question + 1, slots, RANK), threads)
    if arm == "O3":
        return Decided(engine, AGREEMENT)
    return OwnEngine(engine, lambda asks: sum(len(ask.ids) for ask in asks))


def _tree_tokens(asks: Sequence[Ask], base: str) -> float:
    """Tokens of the trees; of the last layer's MLP only the answer places see anything, which is taken off."""
    by_problem: dict[str, list[tuple[int, ...]]] = {}
    for ask in asks:
        by_problem.setdefault(ask.question_id.partition("#")[0], []).append(ask.ids)
    tokens = sum(tree_of(prompts).tokens for prompts in by_problem.values())
    sizes = base_architecture(base)
    mlp = 3 * sizes.hidden * sizes.intermediate / (sizes.layers * sizes.layer_weights)
    return tokens - (tokens - len(asks)) * mlp


def seconds_of(device: str) -> float:
    """A clock: on a CPU the processor's time of this process, of all its threads, since its own machine may be shared;
    on a GPU the time of day.
    """
    return time.process_time() if device == "cpu" else time.perf_counter()


def orders() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def tell(told: dict[str, Any]) -> None:
    print(f"\n{json.dumps(told)}", flush=True)


def serve(arm: str, folder: Path, device: str, members: int, threads: int, sizes: Sizes) -> None:
    """Load, then do each order: the asks once to warm up with the first member alone, then with all of them."""
    import torch

    torch.set_num_threads(threads)
    if arm in ("O1", "O2", "O3"):
        keep_freed_memory()  # as the compute process does
    work = loaded(arm, folder, device, members, threads, sizes)
    shapes = base_architecture(str(folder / BASE))
    weights = shapes.layers * shapes.layer_weights
    tell({"start": seconds_of(device) if device == "cpu" else None})
    work.run(adapters_in(folder, 1), drawn_asks("warm", 1, 1, sizes), lambda done: None)
    for order in orders():
        reset_peak()
        peak = matrix_peak(device, torch.float32 if device == "cpu" else torch.float16)
        asks = drawn_asks(f"{order['seed']}", order["problems"], order["questions"], sizes)
        seconds = timed(work, adapters_in(folder, order["members"]), asks, device)
        flop = 2 * weights * work.tokens(asks)
        tell({"seconds": seconds, "prompts": len(asks), "flop": flop, "peak": peak, "memory": peak_memory()})


def timed(
    work: PlainLoop | OwnEngine, adapters: Sequence[Adapter], asks: Sequence[Ask], device: str
) -> dict[int, float]:
    """Seconds until so many members were through."""
    seconds: dict[int, float] = {}
    begun = seconds_of(device)

    def clock(done: int) -> None:
        seconds[done] = seconds_of(device) - begun

    work.run(adapters, asks, clock)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arm")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", default="40m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--members", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stem", type=int, default=350)
    parser.add_argument("--question", type=int, default=60)
    told = parser.parse_args()
    if told.arm == "prepare":
        tell(prepare(told.folder, told.shape, told.members))
    else:
        serve(told.arm, told.folder, told.device, told.members, told.threads, Sizes(told.stem, told.question))


if __name__ == "__main__":
    main()
