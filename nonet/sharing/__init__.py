"""Sharing: runs packed for others, and adapters that were trained elsewhere. Knows peft's files and packs; no torch."""
