"""Bases: a frozen model's files, how its weights are packed, and how it is loaded; what the stacks differ in."""
