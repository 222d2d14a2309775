"""The page that `nonet serve` serves: runs, the grid, attempts with their logs, the buttons of `rerun` and `cancel`.

It tells what `nonet status` tells, from the same session and in the same words (`cli.session`, `cli.view`), and keeps
nothing. `readings` looks at storage; `grid`, `figures` and `forming` say what of it is shown; `pages` and `login`
answer requests, `desk` holds what they share, `server` listens.
"""
