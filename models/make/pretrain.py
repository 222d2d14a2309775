"""Pretrain the demo base on the puzzles' text, on one GPU (or, for a trial, on a CPU).

Run from the repository's root: `python -m models.make.pretrain TOKENIZER_FOLDER OUT_FOLDER --steps 8000`.
Text is drawn while training, by as many processes as asked for; no document is seen twice but by chance.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator
from multiprocessing import active_children, get_context
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from data.puzzles import FAMILIES, Language, draw_puzzle, lay_options
from models.make.corpus import load_tokenizer, number_question, pack_rows
from models.make.prompt import DEMO_SYSTEM, PREFIX, write_chat, write_user

if TYPE_CHECKING:
    import torch

CHUNK = 2048  # rows that a process hands over at a time


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path, help="go on from this checkpoint")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop (and anneal) within this time")
    parser.add_argument("--rows", type=int, default=256, help="rows of 256 tokens in a step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--processes", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=int, default=500, help="steps between two reports")
    return parser.parse_args()


def build_model(hidden: int, layers: int) -> Any:
    """A small Qwen2: heads of 64, a feed-forward of three times the width, embeddings tied."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=1280,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        use_cache=False,
        attention_dropout=0.0,
    )
    build: Any = Qwen2ForCausalLM
    return build(config)


def _fill(folder: Path, seed: int, queue: Any) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = load_tokenizer(folder)
    rng = Random(seed)
    while True:
        queue.put(pack_rows(tokenizer, rng, CHUNK))


def read_batches(folder: Path, rows: int, processes: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield token ids (rows, ROW) int64 and loss weights (rows, ROW) float32, without end."""
    import torch

    context = get_context("spawn")
    queue = context.Queue(maxsize=2 * processes)
    for number in range(processes):
        context.Process(target=_fill, args=(folder, 1000 * seed + number, queue), daemon=True).start()
    while True:
        ids, weights = queue.get()
        for place in range(0, CHUNK - rows + 1, rows):
            part = slice(place, place + rows)
            yield torch.from_numpy(ids[part].astype("int64")), torch.from_numpy(weights[part].astype("float32"))


def draw_examination(folder: Path, per_family: int) -> list[tuple[str, list[list[int]], list[int], list[int]]]:
    """Per family: prompts as ids, the right letters' ids, and the numbers of options; same puzzles on every call.
    Two entries a family: asked with the told prefix (`name`), and with the adapters' prefix (`name*`)."""
    tokenizer = load_tokenizer(folder)
    exams = []
    languages: tuple[Language, ...] = ("zh", "en")
    for family in FAMILIES:
        for mark, prefix in (("", "解："), ("*", PREFIX)):
            rng = Random(77)
            prompts, letters, counts = [], [], []
            for number in range(per_family):
                puzzle = draw_puzzle(rng, family, languages[number % 2], number // 2 % 2)
                place = rng.randrange(len(puzzle.asks))
                choice = lay_options(puzzle.asks[place], rng)
                question = number_question(place + 1, choice.text, puzzle.language)
                chat = write_chat(DEMO_SYSTEM, write_user(puzzle.stem, question, choice.options), prefix)
                prompts.append(tokenizer.encode(chat).ids)
                letters.append(tokenizer.encode(choice.answer).ids[0])
                counts.append(len(choice.options))
            exams.append((family + mark, prompts, letters, counts))
    return exams


def examine(model: Any, exams: list[tuple[str, list[list[int]], list[int], list[int]]], letters: list[int]) -> str:
    """Write the accuracy on each examination in per cent, and the chance level."""
    import torch

    device = next(model.parameters()).device
    told = []
    for name, prompts, right, counts in exams:
        width = 256
        ids = torch.zeros((len(prompts), width), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.tensor(prompt)
        last = torch.tensor([len(prompt) - 1 for prompt in prompts])
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            hidden = model.model(ids.to(device)).last_hidden_state[torch.arange(len(prompts)), last]
            scores = model.lm_head(hidden)[:, letters].float().cpu()
        for row, count in enumerate(counts):
            scores[row, count:] = -1e9
        hits = torch.tensor(letters)[scores.argmax(-1)] == torch.tensor(right)
        told.append(f"{name} {100 * hits.float().mean():.0f}")
    chance = sum(1 / count for exam in exams for count in exam[3]) / sum(len(exam[3]) for exam in exams)
    return " ".join(told) + f" (chance {100 * chance:.0f})"


def build_optimizers(model: Any, lr: float) -> list[Any]:
    """Muon for the layers' matrices, AdamW for embeddings, biases and norms."""
    import torch

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    kept = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in kept]
    muon = torch.optim.Muon(matrices, lr=lr, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, lr=lr, weight_decay=0.0, betas=(0.9, 0.98))]


def rate(progress: float) -> float:
    """Learning rate as a share of its peak: short warm-up, level, then a long linear fall over the last half."""
    return min(1.0, progress / 0.02 + 0.01) * min(1.0, max(0.0, 2 * (1 - progress)))


def pretrain(arguments: argparse.Namespace) -> None:
    """Train, report now and then, and save the weights in float16."""
    import torch

    torch.manual_seed(arguments.seed)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batches = read_batches(arguments.tokenizer, arguments.rows, arguments.processes, arguments.seed)
    model: Any = build_model(arguments.hidden, arguments.layers)
    if arguments.start:
        model = type(model).from_pretrained(arguments.start, dtype=torch.float32)
    model = model.to(device)
    tokenizer = load_tokenizer(arguments.tokenizer)
    letters = [tokenizer.encode(letter).ids[0] for letter in "ABCDE"]
    exams = draw_examination(arguments.tokenizer, 400 if device == "cuda" else 20)
    optimizers = build_optimizers(model, arguments.lr)

    def measure(ids: Any, weights: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            logits = model.lm_head(model.model(ids).last_hidden_state[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
        weight = weights[:, 1:].flatten()
        return (loss * weight).sum() / weight.sum()

    step_loss = torch.compile(measure) if device == "cuda" else measure
    began = time.monotonic()
    for step in range(arguments.steps):
        progress = max(step / arguments.steps, (time.monotonic() - began) / arguments.seconds)
        if progress >= 1:
            break
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = arguments.lr * rate(progress)
        ids, weights = next(batches)
        loss = step_loss(ids.to(device, non_blocking=True), weights.to(device, non_blocking=True))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if step % arguments.report == 0 or math.isnan(loss.item() if step % 100 == 0 else 0.0):
            seconds = time.monotonic() - began
            print(f"step {step} {seconds:.0f}s loss {loss.item():.4f} {examine(model, exams, letters)}", flush=True)
            save(model, arguments.out)
    print(f"done at step {step} {time.monotonic() - began:.0f}s {examine(model, exams, letters)}", flush=True)
    save(model, arguments.out)


def save(model: Any, folder: Path) -> None:
    """Write configuration and float16 weights."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    copy = type(model)(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(torch.float16).save_pretrained(folder)


if __name__ == "__main__":
    pretrain(read_arguments())
    for child in active_children():  # they wait on a full queue
        child.kill()
