"""Runs: what is expected, what was tried and what came of it; read, compared and explained."""
