"""The demo's base model and the scripts that make it."""
