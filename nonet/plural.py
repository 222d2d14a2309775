"""Counts as people read them: `1 adapter`, `1,200 cells`. Knows regular nouns only."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """`count` with its noun, in the plural unless it is one."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
