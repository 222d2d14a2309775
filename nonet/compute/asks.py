"""Prompts in tokens: those of an order, and, while a GPU answers them, those that the next order will most likely ask.

Knows rows and tokenizers, no engine. What is made ahead is a guess that costs nothing: the rows after an order's last
one are tokenised in a thread that ends with the process, and stops as soon as there is another order; an order takes
what is there and makes the rest itself, the same either way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from nonet.bases.base import base_stamp
from nonet.compute.failure import BadInputError
from nonet.compute.orders import InferOrder
from nonet.engines import Ask
from nonet.questions.option_orders import turned
from nonet.questions.problem import Problem
from nonet.questions.tokens import letter_ids, prompt_ids

AHEAD = 2
"""Times the rows of an order that are made ahead: two, since another worker may take the next shard."""
Made = tuple[tuple[Ask, ...], int]
"""The asks of one problem, and how many of its prompts had their stem cut."""


class Asks:
    """Makes the asks of one order after the other."""

    def __init__(self, load: Callable[[str], Any]) -> None:
        """`load` gives a tokenizer of its own for the base in a folder: one is not for two threads at once."""
        self._load = load
        self._of: tuple[Any, ...] = ()
        self._made: dict[int, tuple[Problem, Made]] = {}
        self._tokenizer: tuple[Any, Any] = (None, None)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, order: InferOrder, problems: Sequence[Problem], tokenizer: Any) -> tuple[list[Ask], int]:
        """The questions of `problems` in tokens, one after the other in each of its option orders, and how many prompts
        had their stem cut; raises BadInputError with the question's id.
        """
        self.rest()
        if self._of != _of(order):
            self._of, self._made = _of(order), {}
        asks: list[Ask] = []
        cut = 0
        for row, problem in enumerate(problems, order.start):
            known, ahead = self._made.pop(row, (None, None))
            made, shortened = ahead if ahead is not None and known == problem else _made(order, problem, tokenizer)
            asks += made
            cut += shortened
        return asks, cut

    def prepare(self, order: InferOrder, following: Sequence[Problem]) -> None:
        """Begin with the problems after those of `order`, of which there are AHEAD times as many at most."""
        self.rest()
        rows = range(order.stop, order.stop + AHEAD * (order.stop - order.start))
        self._made = {row: made for row, made in self._made.items() if row in rows}
        missing = [(row, p) for row, p in zip(rows, following, strict=False) if row not in self._made]
        self._stop.clear()
        self._thread = threading.Thread(target=self._prepare, args=(order, missing), name="asks", daemon=True)
        self._thread.start()

    def rest(self) -> None:
        """Wait until nothing is made ahead any more: a problem's time at most."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _prepare(self, order: InferOrder, missing: Sequence[tuple[int, Problem]]) -> None:
        try:
            base = (order.base, base_stamp(order.base))
            if self._tokenizer[0] != base:
                self._tokenizer = (base, self._load(order.base))
            for row, problem in missing:
                begun = time.monotonic()
                self._made[row] = problem, _made(order, problem, self._tokenizer[1])
                if self._stop.wait(time.monotonic() - begun):  # half of the time is the engine's own
                    return
        except Exception:  # whoever asks for these rows hears what is wrong with them
            return


def _of(order: InferOrder) -> tuple[Any, ...]:
    """What the asks of a row depend on."""
    return (order.base, base_stamp(order.base), order.problems, order.prompt, order.permutations, order.max_length)


def _made(order: InferOrder, problem: Problem, tokenizer: Any) -> Made:
    asks, cut = [], 0
    for question in problem.questions:
        for options in turned(question.options, order.permutations):
            try:
                encoded = prompt_ids(tokenizer, order.prompt, problem.stem, question.text, options, order.max_length)
            except ValueError as error:
                raise BadInputError(f"{order.problems}: {question.id}: {error}") from None
            asks.append(Ask(question.id, encoded.ids, question.letters, letter_ids(tokenizer, question.letters)))
            cut += encoded.cut > 0
    return tuple(asks), cut
