"""Results as tables on a terminal. Knows columns and rounding, not where the numbers come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from nonet.limits.fit import gib
from nonet.plural import counted
from nonet.runs.base_results import BaseResult
from nonet.runs.results import Floor, Results
from nonet.voting.aggregation import Aggregation
from nonet.voting.pairs import VOTE, Pair, pair_between
from nonet.voting.score import Score
from nonet.voting.statistics import PairedTest


def plain_table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """A table without lines; columns in `numbers` are right-aligned."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    return table


def results_table(results: Results) -> Table:
    """Every member by merit, then the vote; scores on gold where there is gold."""
    scored = results.vote_test is not None
    numbers = ("votes", "rows", "questions", "steps", "validation", "test", "95 %")
    tested = ("test", "95 %") if scored else ()
    columns = ("adapter", "votes", "rows", "questions", "steps", "validation", "95 %", *tested, "mix")
    table = plain_table(*columns, numbers=numbers)
    best = results.best
    for member in results.members:
        style = "bold" if best is not None and member.name == best.name else ""
        cells: list[Text | str] = [
            Text(member.name, style),
            "-" if member.weight is None else f"{member.weight:.3g}",
            *(f"{count:,}" if member.rows else "-" for count in (member.rows, member.questions, member.steps)),
            Text(share(member.validation), style),
            Text(span(member.validated), style),
        ]
        if scored:
            cells += [Text(score_text(member.test), style), Text(span(member.test), style)]
        table.add_row(*cells, " + ".join(member.sources))
    table.add_section()
    votes = sum(member.votes for member in results.members)
    figures = [score_text(results.estimate.naive), span(results.estimate.naive)]
    if scored:
        figures += [score_text(results.vote_test), span(results.vote_test)]
    counts = (str(votes), "", "", "")
    table.add_row(Text("vote", "bold green"), *counts, *(Text(figure, "bold green") for figure in figures), "")
    return table


def bases_table(found: Sequence[BaseResult]) -> Table:
    """The bases of a run side by side; scores on gold where there is gold."""
    scored = any(base.test is not None for base in found)
    sets = ("val.", *(("test",) if scored else ()))
    names = [f"{name} {what}" for name in sets for what in ("best", "mean", "vote")]
    figures = ("members", *names, "training", "answering", "s/question")
    table = plain_table("base", *figures, "model", numbers=figures)
    for base in found:
        cells = [str(base.members)]
        for known in (base.validation, *((base.test,) if scored else ())):
            cells += [share(known.best), share(known.mean), share(known.vote)] if known else ["-"] * 3
        cells += ["-" if size is None else gib(size) for size in (base.training_memory, base.answering_memory)]
        cells.append("-" if base.seconds is None else f"{base.seconds:.3f}")
        table.add_row(base.name, *cells, base.model.rstrip("/").rpartition("/")[2])
    return table


def results_lines(results: Results) -> list[str]:
    """What the table cannot say: the vote without its own fitting, and the vote against the best single member."""
    lines, best, fair = [], results.best, results.estimate.cross_fitted
    if fair is not None and fair != results.estimate.naive:
        lines.append(f"the vote cross-fitted on validation: {share(fair.accuracy)}, 95 % {span(fair)}")
    for where, pairs in (("validation", results.pairs_validation), ("test", results.pairs_test)):
        test = pair_between(pairs, VOTE, best.name) if best is not None else None
        if test is not None and best is not None:
            right = f"{test.only_first} right by the vote alone, {test.only_second} by {best.name} alone"
            lines.append(f"against the best single on {where}: {right}, p = {chances(test)}")
    return lines


def score_table(submission: Score, members: Mapping[str, Score], tests: tuple[Pair, ...], floor: Floor | None) -> Table:
    """A submission against gold, members' own answers with its test against each, and what needs no model."""
    numbers = ("correct", "of", "missing", "accuracy", "95 %", "p")
    table = plain_table("answers of", *numbers, numbers=numbers)
    table.add_row(Text("the submission", "bold"), *_score_cells(submission, "bold"), "")
    for name, member in sorted(members.items(), key=lambda found: -found[1].correct):
        table.add_row(name, *_score_cells(member, ""), chances(pair_between(tests, VOTE, name)))
    if floor is not None:
        table.add_row(Text(f"always {floor.letter}", "dim"), "", "", "", Text(share(floor.commonest), "dim"))
        table.add_row(Text("chance", "dim"), "", "", "", Text(share(floor.chance), "dim"))
    return table


def _score_cells(score: Score, style: str) -> list[Text]:
    numbers = (score.correct, score.total, score.missing)
    cells = [f"{number:,}" for number in numbers] + [score_text(score), span(score)]
    return [Text(cell, style) for cell in cells]


def vote_lines(result: Aggregation) -> list[str]:
    """How a vote was taken, and what decided its verdicts."""
    manifest = result.manifest
    decided = ", ".join(f"{count} by {level}" for level, count in manifest["decided"].items())
    method = result.manifest["vote"]["settings"]["method"]
    names = ", ".join(member.name for member in result.voters)
    lines = [f"{counted(len(result.voters), 'member')} vote{'s' * (len(result.voters) == 1)}, {method}: {names}"]
    abstained = counted(manifest["abstentions"], "abstention")
    lines.append(f"{counted(len(result.verdicts), 'question')}: {decided}; {abstained}")
    if "stopped" in manifest:
        lines.append(stopped_line(manifest["stopped"]))
    missing = manifest["partial"]["missing"]
    if missing:
        some = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        lines.append(
            f"a partial vote: {counted(len(missing), 'cell')} {'is' if len(missing) == 1 else 'are'} missing, {some}"
        )
    return lines


def stopped_line(stopped: Mapping[str, int]) -> str:
    """What a run saved that stops when decided."""
    part = stopped["ballots"] / max(1, stopped["of"])
    return (
        f"stopped when decided: {stopped['ballots']:,} of {stopped['of']:,} ballots on the test not needed, {part:.0%}"
    )


def share(value: float | None) -> str:
    """An accuracy with four digits, as the competition gives them."""
    return "-" if value is None else f"{value:.4f}"


def span(score: Score | None) -> str:
    """The 95 % interval of an accuracy, to three digits."""
    interval = score.interval if score else None
    return "-" if interval is None else f"{interval.low:.3f}-{interval.high:.3f}"


def chances(test: PairedTest | None) -> str:
    """The p of a test, to two digits."""
    return "-" if test is None else "<0.001" if test.p < 0.001 else f"{test.p:.2g}"


def score_text(score: Score | None) -> str:
    return share(score.accuracy if score else None)
