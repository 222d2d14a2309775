"""Results as tables on a terminal. Knows columns and rounding, not where the numbers come from."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from nonet.aggregation import Aggregation
from nonet.results import Floor, Results
from nonet.score import Score


def plain_table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """A table without lines; columns in `numbers` are right-aligned."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    return table


def results_table(results: Results) -> Table:
    """Every member by merit, then the vote; scores on gold where there is gold."""
    scored = results.vote_test is not None
    numbers = ("rows", "questions", "steps", "validation", "test")
    columns = ("adapter", "votes", "rows", "questions", "steps", "validation", *(["test"] if scored else []), "mix")
    table = plain_table(*columns, numbers=numbers)
    best = results.best
    for member in results.members:
        style = "bold" if best is not None and member.name == best.name else ""
        cells = [
            Text(member.name, style),
            "yes" if member.votes else "no",
            f"{member.rows:,}",
            f"{member.questions:,}",
            f"{member.steps:,}",
            Text(share(member.validation), style),
        ]
        if scored:
            cells.append(Text(score_text(member.test), style))
        table.add_row(*cells, " + ".join(member.sources))
    table.add_section()
    votes = sum(member.votes for member in results.members)
    cells = [Text("vote", "bold green"), str(votes), "", "", "", Text(share(results.vote_validation), "bold green")]
    if scored:
        cells.append(Text(score_text(results.vote_test), "bold green"))
    table.add_row(*cells, "")
    return table


def score_table(results: Results, submission: Score, floor: Floor | None) -> Table:
    """A submission against gold: it, the members' own answers, and what needs no model."""
    numbers = ("correct", "of", "missing", "accuracy")
    table = plain_table("answers of", *numbers, numbers=numbers)
    table.add_row(Text("the submission", "bold"), *_score_cells(submission, "bold"))
    for member in sorted(results.members, key=lambda found: -(found.test.correct if found.test else -1)):
        if member.test is not None:
            table.add_row(member.name, *_score_cells(member.test, ""))
    if floor is not None:
        table.add_row(Text(f"always {floor.letter}", "dim"), "", "", "", Text(share(floor.commonest), "dim"))
        table.add_row(Text("chance", "dim"), "", "", "", Text(share(floor.chance), "dim"))
    return table


def _score_cells(score: Score, style: str) -> list[Text]:
    numbers = (score.correct, score.total, score.missing)
    return [Text(f"{number:,}", style) for number in numbers] + [Text(score_text(score), style)]


def vote_lines(result: Aggregation) -> list[str]:
    """How a vote was taken, and what decided its verdicts."""
    manifest = result.manifest
    decided = ", ".join(f"{count} by {level}" for level, count in manifest["decided"].items())
    lines = [f"{len(result.voters)} members vote: {', '.join(member.name for member in result.voters)}"]
    lines.append(f"{len(result.verdicts):,} questions: {decided}; {manifest['abstentions']} abstentions")
    missing = manifest["partial"]["missing"]
    if missing:
        some = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        lines.append(f"a partial vote: {len(missing)} cells are missing, {some}")
    return lines


def share(value: float | None) -> str:
    """An accuracy with four digits, as the competition gives them."""
    return "-" if value is None else f"{value:.4f}"


def score_text(score: Score | None) -> str:
    return share(score.accuracy if score else None)
