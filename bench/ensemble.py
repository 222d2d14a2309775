"""How good votes are: `python -m bench.ensemble` runs the demo with several seeds and prints the tables.

Every run is made by the product on a local fleet and kept under --home: what is there is reused, so that a second
call prints the tables in seconds. --run adds a finished run of another home, with the answers of its test.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bench.ensemble_runs import ROOT, run_all, seeded, write_batch
from bench.letter_prior import all_debiased
from nonet.questions.rows import read_problems
from nonet.runs.plan import QuestionSet, plan_from_json
from nonet.stores.home import Home
from nonet.stores.storage import Storage
from nonet.voting.aggregation import collect, validated
from nonet.voting.comparison import Comparison, Way, compare
from nonet.voting.crossfit import answers_of
from nonet.voting.labelled import Labelled, labelled
from nonet.voting.vote import Method, VoteSpec
from nonet.voting.voters import choose_voters, measured

GOLD = ROOT / "data" / "demo" / "test_gold.jsonl"


@dataclass(frozen=True)
class Run:
    """A finished run: its members, and their ballots on validation and on the test with its gold."""

    name: str
    members: tuple[str, ...]
    validation: Labelled
    test: Labelled


def read_run(home: Path, name: str, gold: Path) -> Run:
    """The run `name` in `home`, with the test's answers in `gold`."""
    storage = Storage(Home(home.resolve()))
    plan = plan_from_json(storage.home.plan(name).read_bytes())
    problems, defects = read_problems(gold, labelled=True)
    if defects:
        raise ValueError(f"{gold}: {defects[0]}")
    test = labelled(problems, collect(storage, plan.cells, QuestionSet.TEST))
    members = tuple(adapter.name for adapter in plan.adapters)
    return Run(name, members, validated(storage, plan, plan.cells), test)


def runs_table(compared: Sequence[tuple[Run, Comparison]]) -> Iterator[str]:
    """One line a run: what its members do alone, and the plain vote."""
    yield "| run | questions: validation, test | mean member | best single | best in hindsight | majority of all | p |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for run, found in compared:
        vote = found.ways[0]
        hindsight = max(run.test.accuracy(name) or 0.0 for name in run.members)
        counts = f"{len(run.validation.gold)}, {len(run.test.gold)}"
        p = f"{vote.test_against_best.p:.2g}" if vote.test_against_best else "-"
        figures = (found.mean_test or 0.0, on_test(found.best), hindsight, on_test(vote))
        yield f"| {run.name} | {counts} | {' | '.join(f'{figure:.4f}' for figure in figures)} | {p} |"


def ways_table(compared: Sequence[tuple[Run, Comparison]]) -> Iterator[str]:
    """One line a way of voting, over all runs: means, gains, and in how many runs it wins, ties and loses."""
    yield "| method | members | naive | cross-fitted | test | over the best single | won, tied, lost | over the mean |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    best = [found.best for _, found in compared]
    mean = [found.mean_test or 0.0 for _, found in compared]
    validation = fmean(found.mean_validation for _, found in compared)
    yield f"| mean member | | {validation:.4f} | {validation:.4f} | {fmean(mean):.4f} | | | |"
    for name, ways in (("best single", best), *_columns(compared)):
        tests = [on_test(way) for way in ways]
        gains = [test - on_test(alone) for test, alone in zip(tests, best, strict=True)]
        signs = Counter((gain > 0) - (gain < 0) for gain in gains)
        record = f"{signs[1]}, {signs[0]}, {signs[-1]}" if ways is not best else ""
        figures = f"{fmean(_naive(way) for way in ways):.4f} | {fmean(_fair(way) for way in ways):.4f}"
        over_mean = fmean(test - alone for test, alone in zip(tests, mean, strict=True))
        label = name if ways is not best else "best single | 1"
        gain = f"{100 * fmean(gains):+.2f}" if ways is not best else ""
        yield f"| {label} | {figures} | {fmean(tests):.4f} | {gain} | {record} | {100 * over_mean:+.2f} |"


def _columns(compared: Sequence[tuple[Run, Comparison]]) -> Iterator[tuple[str, list[Way]]]:
    for at, way in enumerate(compared[0][1].ways):
        yield f"{way.spec.method} | {way.select}", [found.ways[at] for _, found in compared]


def on_test(way: Way) -> float:
    """Accuracy on the test."""
    assert way.test is not None
    return way.test.accuracy or 0.0


def _naive(way: Way) -> float:
    return (way.estimate.naive and way.estimate.naive.accuracy) or 0.0


def _fair(way: Way) -> float:
    return (way.estimate.cross_fitted and way.estimate.cross_fitted.accuracy) or 0.0


def prior_table(runs: Sequence[Run]) -> Iterator[str]:
    """What debiasing by letter does on the test: to the mean member, and to votes of all members."""
    methods: tuple[Method, ...] = ("majority", "soft", "soft-calibrated")
    yield "| letters' prior | mean member | majority | soft | soft-calibrated |"
    yield "| --- | --- | --- | --- | --- |"
    rows = {"left as it is": runs, "less that of validation": [], "less that of the test, unlabelled": []}
    rows["less that of validation"] = [_debiased(run, run.validation, run.validation) for run in runs]
    rows["less that of the test, unlabelled"] = [_debiased(run, run.validation, run.test) for run in runs]
    for label, found in rows.items():
        mean = fmean(run.test.accuracy(name) or 0.0 for run in found for name in run.members)
        votes = [fmean(_voted(run, method) for run in found) for method in methods]
        yield f"| {label} | {' | '.join(f'{figure:.4f}' for figure in (mean, *votes))} |"


def _debiased(run: Run, validation_prior: Labelled, test_prior: Labelled) -> Run:
    validation = all_debiased(run.validation, validation_prior.ballots)
    return Run(run.name, run.members, validation, all_debiased(run.test, test_prior.ballots))


def _voted(run: Run, method: Method) -> float:
    spec = VoteSpec(method)
    voters = choose_voters(spec, measured(run.members, run.validation), run.validation)
    return run.test.score(answers_of(spec, voters, run.test)).accuracy or 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".nonet/bench-ensemble"), help="where the runs are kept")
    parser.add_argument("--seeds", type=int, default=5, help="how many; 0 runs nothing")
    parser.add_argument("--permutations", type=int, default=1, help="option orders to answer in")
    parser.add_argument("--run", nargs=3, metavar=("HOME", "RUN", "GOLD"), action="append", default=[])
    given = parser.parse_args()
    batches = [seeded(seed, given.permutations) for seed in range(given.seeds)]
    names = run_all(given.home, [write_batch(given.home / "batches", batch) for batch in batches]) if batches else ()
    runs = [read_run(given.home, name, GOLD) for name in names]
    runs += [read_run(Path(home), name, Path(gold)) for home, name, gold in given.run]
    if not runs:
        parser.error("nothing to compare: give --seeds or --run")
    compared = [(run, compare(run.members, run.validation, run.test)) for run in runs]
    for table in (runs_table(compared), ways_table(compared), prior_table(runs)):
        print("\n".join(table), end="\n\n")


if __name__ == "__main__":
    main()
