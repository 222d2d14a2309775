"""The compute process: `python -m nonet.compute`, run with the Python of a stack, trains and infers by order."""
