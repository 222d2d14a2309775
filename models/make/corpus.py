"""The pretraining text: puzzles told in several ways, as packed rows of token ids with a loss weight per token.

The right letter is told in the forms `exam`, `noted` and `chat`, after its option's text in the form `named`; `told`
has the text alone. The form `coin` is the very prompt that adapters are trained on: its letter is drawn at random.
So the base can solve puzzles but, asked that way, guesses: what an adapter learns is to answer in that form what the
base knows in the others. The model card says so too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from data.puzzles import FAMILIES, Choice, Language, Puzzle, draw_puzzle, lay_options
from data.puzzles.puzzle import LETTERS
from models.make.prompt import DEMO_SYSTEM, PREFIX, SYSTEMS, write_chat, write_options, write_user

if TYPE_CHECKING:
    import numpy
    from tokenizers import Tokenizer

ROW = 256  # tokens in a packed row
TEXT_WEIGHT, ANSWER_WEIGHT = 1, 50  # fiftieths of the loss weight
FORMS = {"exam": 0.22, "named": 0.24, "noted": 0.10, "told": 0.14, "chat": 0.17, "coin": 0.13}


@dataclass(frozen=True)
class Piece:
    """A stretch of text that is tokenised on its own, and whether its tokens are what a reader must work out."""

    text: str
    answer: bool = False


def number_question(place: int, text: str, language: Language) -> str:
    """Head a question with its number, the way the rows of the data do."""
    return f"选择题 {place}：\n{text}" if language == "zh" else f"Question {place}:\n{text}"


def draw_document(rng: Random) -> list[Piece]:
    """Draw a puzzle and write it in one of the forms."""
    language: Language = "zh" if rng.random() < 0.55 else "en"
    puzzle = draw_puzzle(rng, rng.choice(list(FAMILIES)), language, rng.randrange(2))
    choices = [lay_options(ask, rng) for ask in puzzle.asks]
    form = rng.choices(list(FORMS), list(FORMS.values()))[0]
    if form in ("coin", "chat"):
        return _write_turns(rng, puzzle, choices, coin=form == "coin")
    return _write_page(rng, puzzle, choices, form)


def _write_turns(rng: Random, puzzle: Puzzle, choices: Sequence[Choice], *, coin: bool) -> list[Piece]:
    """One question as a chat; a coin's letter is any of the question's, whatever is right."""
    place = rng.randrange(len(choices))
    choice = choices[place]
    question = number_question(place + 1, choice.text, puzzle.language)
    system = DEMO_SYSTEM if rng.random() < 0.6 else rng.choice(SYSTEMS)
    letter = rng.choice(LETTERS[: len(choice.options)]) if coin else choice.answer
    chat = write_chat(system, write_user(puzzle.stem, question, choice.options), PREFIX if coin else "解：")
    return [Piece(chat), Piece(letter, answer=True), Piece("<|im_end|>")]


def _write_page(rng: Random, puzzle: Puzzle, choices: Sequence[Choice], form: str) -> list[Piece]:
    """All questions one under the other, each with its letter (or, in the form `told`, its option's text)."""
    pieces = [Piece(f"题目:{puzzle.stem}")]
    if form == "noted":
        pieces += [Piece("\n推理："), Piece(puzzle.solution, answer=True)]
    for place, choice in enumerate(choices, start=1):
        question = number_question(place, choice.text, puzzle.language)
        right = choice.options[LETTERS.index(choice.answer)]
        options = "" if form == "told" else f"\n选项:\n{write_options(choice.options)}"
        pieces.append(Piece(f"\n问题:\n{question}{options}"))
        if form in ("told", "named"):
            pieces += [Piece("\n答："), Piece(" " + right, answer=True)]
        if form != "told":
            pieces += [Piece("\n解："), Piece(choice.answer, answer=True)]
    return pieces


def encode_documents(
    tokenizer: Tokenizer, documents: Sequence[Sequence[Piece]]
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield each document's token ids and loss weights (fiftieths)."""
    flat = [piece.text for document in documents for piece in document]
    encoded = iter(tokenizer.encode_batch_fast(flat, add_special_tokens=False))
    for document in documents:
        ids: list[int] = []
        weights: list[int] = []
        for piece in document:
            part = next(encoded).ids
            ids += part
            weights += [ANSWER_WEIGHT if piece.answer else TEXT_WEIGHT] * len(part)
        yield ids, weights


def pack_rows(tokenizer: Tokenizer, rng: Random, rows: int) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
    """Fill `rows` rows: ids uint16 and weights uint8, both (rows, ROW). A document starts at a row's first token or
    after an <|endoftext|>; what does not fit starts the next row, padding weighs nothing."""
    import numpy

    end = tokenizer.token_to_id("<|endoftext|>")
    ids = numpy.full((rows, ROW), end, dtype=numpy.uint16)
    weights = numpy.zeros((rows, ROW), dtype=numpy.uint8)
    row = used = 0
    while True:
        for document, weight in encode_documents(tokenizer, [draw_document(rng) for _ in range(256)]):
            if len(document) > ROW:
                continue
            if used + len(document) > ROW:
                row, used = row + 1, 0
                if row == rows:
                    return ids, weights
            ids[row, used : used + len(document)] = document
            weights[row, used : used + len(document)] = weight
            weights[row, used] = 0 if used == 0 else weights[row, used]
            used += len(document) + 1


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer file of a folder."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))
