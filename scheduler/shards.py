"""Where a question set is cut into shards. Pure: knows numbers of problems and tokens, no row and no key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

AUTO_TOKENS = 2**17
"""Tokens of prompts in a shard of `shard_size: auto`, at most.

Long enough that what the queue costs for each shard (docs/performance.md, Queue and scale) stays below 3 % also where
one adapter answers at the highest pace measured, 22,500 tokens a second (a 32B base on an H200): 6 s. Short enough that
nine adapters take less than a minute there, so that a killed worker costs that at most, several workers end together,
and a V100, some ten times slower, shows progress every few minutes.
"""
AUTO_SHARDS = 8
"""Shards that a smaller set is cut into, so that several workers have something of it …"""
LEAST_TOKENS = 2**14
"""… but into none of fewer tokens."""


def by_number(problems: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of shards of `size` problems."""
    return ((start, min(start + size, problems)) for start in range(0, problems, size))


def auto_tokens(total: int) -> int:
    """The most tokens in a shard of a set of `total`: a power of two, so that it seldom changes as rows are added."""
    share = min(AUTO_TOKENS, max(LEAST_TOKENS, total // AUTO_SHARDS))
    return 1 << (share.bit_length() - 1)


def by_tokens(tokens: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of shards of at most `most` tokens, or of one problem that has more; `tokens` is each problem's.

    Each is filled before the next begins, so that rows added at the end of a file leave the shards before the last as
    they were, and their ballots are reused.
    """
    start = total = 0
    for at, count in enumerate(tokens):
        if at > start and total + count > most:
            yield start, at
            start, total = at, 0
        total += count
    if tokens:
        yield start, len(tokens)
