"""The demo's data: the puzzle generator and the script that writes `data/demo`."""
