"""Limits: how much memory and space work needs, and what a worker has of it."""
