"""Trees: the prompts of one problem as their common beginning, once, and what follows it in each of them.

Knows token ids, how trees are laid out in rows of one width, and which token sees which; no model, no torch. Scoring
and training lay their prompts out by the same functions (`nonet.adapters.tree_forward` runs a layout). The mask is that
of a token tree, after X. Miao et al., "SpecInfer" (ASPLOS 2024), here of depth two: a token sees what stands before it
in its stem and in its own branch, and its position is its place in its own prompt: a prompt reads what it reads alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STEM = -1
"""The branch of a stem's tokens."""
PADDING = -1
"""The segment of what only fills a row; it sees itself and is seen by nobody."""


@dataclass(frozen=True, slots=True)
class Branch:
    """What follows the stem in one prompt: `ids`, the last `answers` of which are answer places, those whose hidden
    states say the next token: one where a letter is asked for, one for each token of a reply in training.
    """

    ids: tuple[int, ...]
    answers: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.answers <= len(self.ids):
            raise ValueError(f"a branch of {len(self.ids)} tokens cannot have {self.answers} answer places")


@dataclass(frozen=True, slots=True)
class Tree:
    """Prompts that begin alike: the `stem` (may be empty) and a branch for each of them, in their order."""

    stem: tuple[int, ...]
    branches: tuple[Branch, ...]

    @property
    def tokens(self) -> int:
        """Tokens that are computed, where one prompt after the other would be `stem` times the branches more."""
        return len(self.stem) + sum(len(branch.ids) for branch in self.branches)


@dataclass(frozen=True, slots=True)
class Segment:
    """A tree, or so many of its branches as were laid together, as it stands in a row: numbers of the tree and of its
    `branches`, and the `row` and first `column` of its stem.
    """

    tree: int
    branches: tuple[int, ...]
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Place:
    """An answer place: where it stands, and the numbers of its tree and branch."""

    row: int
    column: int
    tree: int
    branch: int


@dataclass(frozen=True, slots=True)
class Pack:
    """Trees for one forward, in rows of one width. `ids`, `positions` (from 0 in every prompt), `segments` (numbers
    into `laid`; PADDING where nothing stands) and `branches` (numbers of a tree's branches; STEM) are [rows, width].

    A token sees another of its row iff that stands at its own column or before, in its segment, and in the stem or in
    its own branch. `places` follow each other by tree, branch and token. `owners` say whose each row is: rows of one
    owner stand together, and owners come in rising order.
    """

    ids: tuple[tuple[int, ...], ...]
    positions: tuple[tuple[int, ...], ...]
    segments: tuple[tuple[int, ...], ...]
    branches: tuple[tuple[int, ...], ...]
    laid: tuple[Segment, ...]
    places: tuple[Place, ...]
    owners: tuple[int, ...]

    @property
    def width(self) -> int:
        return len(self.ids[0])

    @property
    def tokens(self) -> int:
        """Tokens that are no padding."""
        return sum(segment != PADDING for row in self.segments for segment in row)


def tree_of(prompts: Sequence[Sequence[int]], answers: Sequence[int] | None = None) -> Tree:
    """The tree of `prompts`, of which prompt k has its last `answers[k]` tokens (None: one) as answer places.

    The stem is their longest common beginning, less what keeps every answer place in a branch: a prompt that is the
    beginning of another, or equal to it, still has a branch. Raises ValueError where there is no prompt, or a prompt
    is shorter than its answer places.
    """
    wanted = [1] * len(prompts) if answers is None else answers
    if not prompts or len(wanted) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts with answer places for {len(wanted)} make no tree")
    stem = min(len(prompt) - count for prompt, count in zip(prompts, wanted, strict=True))
    first = tuple(prompts[0])
    for prompt in prompts[1:]:
        stem = _alike(first, prompt, stem)
    branches = (Branch(tuple(prompt[max(0, stem) :]), n) for prompt, n in zip(prompts, wanted, strict=True))
    return Tree(first[: max(0, stem)], tuple(branches))


def packs(trees: Sequence[Tree], budget: int, owners: Sequence[int] | None = None) -> tuple[Pack, ...]:
    """All branches of `trees`, each once, in packs of at most `budget` tokens with padding, the longest first.

    Trees of about one length share a pack, so that little is padding; a row holds trees of one owner only (`owners`,
    one a tree, None: all 0). A tree that is longer than the budget is laid in several segments, its stem in each; a
    single branch that is longer still has a pack for itself. Raises ValueError for a budget below 1.
    """
    if budget < 1:
        raise ValueError(f"a budget of {budget} tokens holds nothing")
    whose = [0] * len(trees) if owners is None else owners
    pieces = [(number, part) for number, tree in enumerate(trees) for part in _parts(tree, budget)]
    length = {piece: _length(trees[piece[0]], piece[1]) for piece in pieces}
    pieces.sort(key=lambda piece: (-length[piece], piece))
    found: list[list[_Row]] = []
    width = 0
    for piece in pieces:
        owner = whose[piece[0]]
        if found and (row := _with_room(found[-1], owner, width - length[piece])) is not None:
            row.take(piece, length[piece])
            continue
        if not found or (len(found[-1]) + 1) * width > budget:
            found.append([])
            width = length[piece]
        found[-1].append(_Row(owner, [piece], length[piece]))
    return tuple(_laid_out(trees, rows) for rows in found)


def sees(pack: Pack, row: int, column: int, other: int) -> bool:
    """Whether the token at `column` of a row sees the one at `other`: the rule of `Pack`, token by token."""
    segments, branches = pack.segments[row], pack.branches[row]
    return other <= column and segments[other] == segments[column] and branches[other] in (STEM, branches[column])


_Piece = tuple[int, tuple[int, ...]]
"""A tree's number, and those of some of its branches."""
_Token = tuple[int, int, int, int]
"""Id, position, segment and branch."""


@dataclass(slots=True)
class _Row:
    owner: int
    pieces: list[_Piece]
    filled: int

    def take(self, piece: _Piece, length: int) -> None:
        self.pieces.append(piece)
        self.filled += length


def _alike(one: Sequence[int], other: Sequence[int], most: int) -> int:
    """How many of their first `most` tokens are the same."""
    for at in range(most):
        if one[at] != other[at]:
            return at
    return most


def _parts(tree: Tree, budget: int) -> Iterator[tuple[int, ...]]:
    """Runs of the tree's branches, each no longer than the budget together with the stem where that can be."""
    run: list[int] = []
    filled = len(tree.stem)
    for number, branch in enumerate(tree.branches):
        if run and filled + len(branch.ids) > budget:
            yield tuple(run)
            run, filled = [], len(tree.stem)
        run.append(number)
        filled += len(branch.ids)
    if run:
        yield tuple(run)


def _length(tree: Tree, branches: Sequence[int]) -> int:
    return len(tree.stem) + sum(len(tree.branches[number].ids) for number in branches)


def _with_room(rows: Sequence[_Row], owner: int, most: int) -> _Row | None:
    return next((row for row in rows if row.owner == owner and row.filled <= most), None)


def _laid_out(trees: Sequence[Tree], rows: list[_Row]) -> Pack:
    rows.sort(key=lambda row: row.owner)
    width = max(row.filled for row in rows)
    laid: list[Segment] = []
    places: list[Place] = []
    lines: list[list[_Token]] = []
    for at, row in enumerate(rows):
        line: list[_Token] = []
        for number, chosen in row.pieces:
            tree = trees[number]
            laid.append(Segment(number, chosen, at, len(line)))
            line.extend((token, place, len(laid) - 1, STEM) for place, token in enumerate(tree.stem))
            for own in chosen:
                branch = tree.branches[own]
                line.extend((token, len(tree.stem) + k, len(laid) - 1, own) for k, token in enumerate(branch.ids))
                places.extend(Place(at, k, number, own) for k in range(len(line) - branch.answers, len(line)))
        lines.append(line + [(0, 0, PADDING, STEM)] * (width - len(line)))
    places.sort(key=lambda place: (place.tree, place.branch, place.column))
    ids, positions, segments, branches = (
        tuple(tuple(token[field] for token in line) for line in lines) for field in range(4)
    )
    owners = tuple(row.owner for row in rows)
    return Pack(ids, positions, segments, branches, tuple(laid), tuple(places), owners)
