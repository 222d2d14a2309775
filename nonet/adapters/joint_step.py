"""One step of several adapters over one base: their losses, and the gradients of each by itself.

Knows lessons, trees and a worn bank; no optimizer, no schedule. The losses are summed over the adapters, and every
token's path leads through one adapter only, so that no gradient holds anything of another's. Lessons of one stem that
an adapter has in one step are branches of one tree: the stem is computed once for all of them.

On a GPU the adapters' tokens go through the base together, in rows of one width, which makes small steps as fast as
large ones; on a CPU each adapter's go by themselves, since more rows at once gain little there (docs/performance.md).
So what an adapter becomes depends on its company by roundings on a GPU, and not at all on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

from nonet.adapters.lora import LoraBank, Span
from nonet.adapters.training import Lesson, hidden_states, vocabulary_logits, wide
from nonet.adapters.tree import STEM, Pack, Tree, packs, tree_of
from nonet.adapters.tree_forward import answer_states, inputs_of


@dataclass(frozen=True, slots=True)
class Turn:
    """What the adapter in `slot` learns in one step: `lessons`, and whether those of one stem share it although there
    is dropout (which then drops the same of the stem for all of them).
    """

    slot: int
    lessons: tuple[Lesson, ...]
    grouped: bool = False


class StepStoppedError(Exception):
    """A step was given up on the way; what it left in the gradients is to be forgotten."""


def never() -> bool:
    return False


def backward(
    model: Any,
    bank: LoraBank,
    turns: Sequence[Turn],
    budget: int,
    together: bool | None = None,
    stop: Callable[[], bool] = never,
) -> list[float]:
    """The loss of each turn, the mean cross-entropy of its reply tokens; adds its gradient to that of its slot.

    `bank` is worn by `model`. At most `budget` tokens, with padding, go through the base at once, or one prompt where
    it is longer; so much memory is needed, whatever the turns come to. `together` says whether tokens of several
    adapters go through it at once (None: on a GPU). Raises StepStoppedError once `stop` says so.
    """
    if together if together is not None else bank.device.type != "cpu":
        return _backward(model, bank, turns, budget, stop)
    return [loss for turn in turns for loss in _backward(model, bank, [turn], budget, stop)]


def _backward(model: Any, bank: LoraBank, turns: Sequence[Turn], budget: int, stop: Callable[[], bool]) -> list[float]:
    """As `backward`. A loss that is not finite does not go back, since what products of all adapters make of it would
    be in the gradients of others: the step is made again without its turn.
    """
    import torch
    from torch.nn.functional import cross_entropy

    laid = _Laid.of(turns, bank.shape.dropout > 0)
    losses = wide(torch.zeros(len(turns), device=bank.device, dtype=model.dtype))
    for pack in packs(laid.trees, budget, [turns[turn].slot for turn in laid.turn_of]):
        if stop():
            raise StepStoppedError
        targets, whose, weights = zip(*laid.answers(pack), strict=True)
        turn_of = torch.tensor(whose, device=bank.device)
        with bank.routed(tuple(_spans(pack, laid, bank))):
            logits = vocabulary_logits(model, _states(model, pack, bank.device))
            each = cross_entropy(wide(logits), torch.tensor(targets, device=bank.device), reduction="none")
            each = each * torch.tensor(weights, device=bank.device, dtype=each.dtype)
            spoiled = set(turn_of[~each.detach().isfinite()].tolist())
            if spoiled:
                return _without(spoiled, model, bank, turns, budget, stop)
            each.sum().backward()
        losses.index_add_(0, turn_of, each.detach())
    found: list[float] = losses.tolist()
    return found


def _without(
    spoiled: Set[int], model: Any, bank: LoraBank, turns: Sequence[Turn], budget: int, stop: Callable[[], bool]
) -> list[float]:
    """The losses of a step that is made again without the turns numbered `spoiled`; theirs are NaN."""
    sound = [turn for number, turn in enumerate(turns) if number not in spoiled]
    if sound:
        bank.clear_gradients()
    losses = iter(_backward(model, bank, sound, budget, stop) if sound else ())
    return [float("nan") if number in spoiled else next(losses) for number in range(len(turns))]


def _states(model: Any, pack: Pack, device: Any) -> Any:
    """Hidden states at the answer places. Where every row is one prompt, the ordinary causal mask says all there is:
    padding follows, and nobody sees it.
    """
    import torch

    rows = {piece.row for piece in pack.laid}
    if len(rows) < len(pack.laid) or any(len(piece.branches) > 1 for piece in pack.laid):
        return answer_states(model, inputs_of(pack, device, model.dtype))
    hidden = hidden_states(model, torch.tensor(pack.ids, device=device))
    return hidden[[place.row for place in pack.places], [place.column for place in pack.places]]


@dataclass(frozen=True, slots=True)
class _Laid:
    """Turns as `trees`: `turn_of` each tree, its `lessons`, and where its tokens begin among those that `cells` counts
    of its turn, as dropout does.
    """

    trees: tuple[Tree, ...]
    turn_of: tuple[int, ...]
    lessons: tuple[tuple[Lesson, ...], ...]
    begins: tuple[int, ...]
    cells: tuple[int, ...]
    replies: tuple[int, ...]

    @classmethod
    def of(cls, turns: Sequence[Turn], dropping: bool) -> _Laid:
        trees: list[Tree] = []
        turn_of: list[int] = []
        lessons: list[tuple[Lesson, ...]] = []
        begins: list[int] = []
        cells: list[int] = []
        for number, turn in enumerate(turns):
            groups = list(_groups(turn, apart=dropping and not turn.grouped))
            own = [tree_of(*_prompts(group)) for group in groups]
            # a training by itself pads its batch to the longest prompt, and its masks with it
            sizes = [tree.tokens for tree in own] if turn.grouped else [max(tree.tokens for tree in own)] * len(own)
            ends = list(accumulate(sizes))
            trees += own
            turn_of += [number] * len(own)
            lessons += groups
            begins += [end - size for end, size in zip(ends, sizes, strict=True)]
            cells.append(ends[-1])
        replies = tuple(sum(len(lesson.reply) for lesson in turn.lessons) for turn in turns)
        return cls(tuple(trees), tuple(turn_of), tuple(lessons), tuple(begins), tuple(cells), replies)

    def answers(self, pack: Pack) -> Iterator[tuple[int, int, float]]:
        """(target, turn, weight in the loss) of each answer place of `pack`, in their order."""
        for (number, branch), places in groupby(pack.places, key=lambda place: (place.tree, place.branch)):
            turn = self.turn_of[number]
            for _, token in zip(places, self.lessons[number][branch].reply, strict=True):
                yield token, turn, 1 / self.replies[turn]

    def cell(self, pack: Pack, row: int, column: int) -> int:
        """Which of its turn's cells a token is; padding is the first, since its mask counts for nothing."""
        segment = pack.segments[row][column]
        if segment < 0:
            return 0
        number, branch = pack.laid[segment].tree, pack.branches[row][column]
        tree = self.trees[number]
        before = 0 if branch == STEM else sum(len(other.ids) for other in tree.branches[:branch])
        return self.begins[number] + before + pack.positions[row][column]


def _groups(turn: Turn, *, apart: bool) -> Iterator[tuple[Lesson, ...]]:
    """The lessons of a turn that make one tree each."""
    if apart:
        yield from ((lesson,) for lesson in turn.lessons)
        return
    by_stem: dict[str, list[Lesson]] = {}
    for lesson in turn.lessons:
        by_stem.setdefault(lesson.stem, []).append(lesson)
    yield from map(tuple, by_stem.values())


def _prompts(lessons: Sequence[Lesson]) -> tuple[list[tuple[int, ...]], list[int]]:
    return [(*lesson.ids, *lesson.reply[:-1]) for lesson in lessons], [len(lesson.reply) for lesson in lessons]


def _spans(pack: Pack, laid: _Laid, bank: LoraBank) -> Iterator[Span]:
    """Whose tokens are whose in the rows of `pack`, and, where there is dropout, which cells they are."""
    import torch

    row = 0
    for slot, rows in groupby(pack.owners):
        first, row = row, row + len(list(rows))
        start, stop = first * pack.width, row * pack.width
        if bank.shape.dropout == 0:
            yield Span(slot, start, stop)
            continue
        turn = laid.turn_of[next(piece.tree for piece in pack.laid if piece.row == first)]
        places = [laid.cell(pack, at, column) for at in range(first, row) for column in range(pack.width)]
        yield Span(slot, start, stop, laid.cells[turn], torch.tensor(places, device=bank.device))
