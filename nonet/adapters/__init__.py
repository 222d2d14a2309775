"""Adapters: recipes, LoRA, one training or several at once, trees of prompts, checkpoints."""
