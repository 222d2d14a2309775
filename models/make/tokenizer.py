"""Train the demo base's tokenizer: a small byte-level BPE in the shape of Qwen2's.

Run from the repository's root: `python -m models.make.tokenizer OUT_FOLDER`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from data.puzzles import FAMILIES, Language, draw_puzzle, lexicon
from models.make.prompt import LABELS, SYSTEMS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = 1280
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def fragments(puzzles: int = 6000) -> Iterator[str]:
    """Yield puzzle text cut around the lexicon's Chinese words, so that no token crosses a word's border."""
    rng = Random(0)
    languages: tuple[Language, ...] = ("zh", "en")
    words = {word for table in lexicon.TABLES for word in table["zh"]}
    border = re.compile("(" + "|".join(sorted(words, key=len, reverse=True)) + ")")
    for number in range(puzzles):
        puzzle = draw_puzzle(rng, list(FAMILIES)[number % len(FAMILIES)], languages[number % 2], rng.randrange(2))
        for text in (puzzle.stem, puzzle.solution, *(ask.text for ask in puzzle.asks)):
            yield from (piece for piece in border.split(text) if piece)
            yield from (sign for sign in text * 3 if sign > "\u3000")  # whole characters merge first
        for option in (option for ask in puzzle.asks for option in (ask.right, *ask.wrong)):
            yield from (" " + option,) if puzzle.language == "en" else border.split(option)
        yield from (*LABELS, *SYSTEMS) if number % 50 == 0 else ()


def train() -> Tokenizer:
    """Train the BPE. Deterministic: one seed, no threads' order in it."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - len(SPECIALS), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(fragments(), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files that transformers 4 and 5, peft and vLLM read."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.model.save(str(folder))
    settings = {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {
                "content": token,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
            for token in SPECIALS
        },
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 2048,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False, indent=1) + "\n", "utf-8")


def main(arguments: list[str]) -> None:
    """Train and write the tokenizer into the folder named first."""
    tokenizer = train()
    save(tokenizer, Path(arguments[0]))
    print("vocabulary", tokenizer.get_vocab_size())


if __name__ == "__main__":
    main(sys.argv[1:])
