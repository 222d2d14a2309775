"""The report's page: facts and figures put into the template. Knows what each table holds; reads nothing itself.

Every text from data goes through the template's escaping; only figures, whose text is escaped already, go in as they
are. The page holds no script, and its policy forbids any, as it forbids the network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nonet
from nonet.questions.problem import Question
from nonet.report.facts import Facts, failures, read_facts
from nonet.report.figures import accuracy_svg, agreement_svg, losses_svg, timeline_svg
from nonet.report.timeline import shares_of
from nonet.runs.attempt import Attempts
from nonet.runs.logbook import GIB, drawn_text
from nonet.runs.plan import Plan, QuestionSet
from nonet.stores.storage import Storage
from nonet.voting.ballot import Ballot
from nonet.voting.pairs import VOTE, pair_between
from nonet.voting.score import Score
from nonet.voting.vote import Verdict

CLOSEST = 20
"""Questions shown with every ballot."""
STEM_LENGTH = 4000
"""Most characters of a stem on the page."""
_TEMPLATE = "page.html.jinja"


@dataclass(frozen=True, slots=True)
class Close:
    """A question that was decided by little: its text, what was decided, the gold letter if known, and each ballot."""

    verdict: Verdict
    question: Question
    stem: str
    gold: str | None
    ballots: tuple[tuple[str, Ballot | None], ...]


def write_report(storage: Storage, attempts: Attempts, plan: Plan) -> int:
    """Write report.html of the run of `plan` into its folder; returns its size in bytes.

    Raises OSError, nonet.stores.storage.DamagedError.
    """
    data = page(read_facts(storage, attempts, plan)).encode()
    storage.store.replace(storage.home.report(plan.run), data)
    return len(data)


def page(facts: Facts) -> str:
    """The report as one HTML page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"share": share, "interval": interval, "drawn": drawn_text, "probability": _probability}
    outcomes = facts.outcomes
    return environment.get_template(_TEMPLATE).render(
        facts=facts,
        plan=facts.plan,
        outcomes=outcomes,
        QuestionSet=QuestionSet,
        accuracy=Markup(accuracy_svg(outcomes) if outcomes else ""),
        agreement=Markup(agreement_svg(facts)),
        losses=Markup(losses_svg(facts.trainings)),
        timeline=Markup(timeline_svg(facts.spans)),
        against=_against(facts),
        shares=shares_of(facts.spans),
        failures=failures(facts.spans),
        closest=tuple(_closest(facts)),
        abstentions=_abstentions(facts),
        versions=_versions(facts),
        version=nonet.__version__,
        GIB=GIB,
    )


def share(value: float | None) -> str:
    """An accuracy with four digits."""
    return "–" if value is None else f"{value:.4f}"


def interval(score: Score | None) -> str:
    found = score.interval if score else None
    return "" if found is None else f"{found.low:.3f}–{found.high:.3f}"


def _probability(ballot: Ballot, at: int) -> float | None:
    """The probability that a ballot gives to the option at a position, 0..1; None where the engine has none."""
    from math import exp

    return exp(ballot.logprobs[at]) if ballot.logprobs else None


def _against(facts: Facts) -> Mapping[str, Mapping[QuestionSet, float]]:
    """The p of the vote against each member, by member and question set (McNemar's exact test)."""
    if facts.outcomes is None:
        return {}
    results = facts.outcomes.results
    pairs = {QuestionSet.VALIDATION: results.pairs_validation, QuestionSet.TEST: results.pairs_test}
    tests = {(m.name, s): pair_between(found, VOTE, m.name) for m in results.members for s, found in pairs.items()}
    return {
        m.name: {s: found.p for s in pairs if (found := tests[m.name, s]) is not None} for m in results.members
    }  # fmt: skip


def _closest(facts: Facts) -> Iterator[Close]:
    """The questions that were decided by the least, the closest first."""
    if facts.outcomes is None:
        return
    asked = {question.id: (problem, question) for problem in facts.test for question in problem.questions}
    verdicts = sorted(facts.outcomes.vote.verdicts, key=lambda verdict: verdict.margin)[:CLOSEST]
    voters = [voter.name for voter in facts.outcomes.vote.voters]
    for verdict in verdicts:
        problem, question = asked[verdict.question_id]
        ballots = tuple((name, facts.ballots.get(name, {}).get(question.id)) for name in voters)
        yield Close(verdict, question, problem.stem[:STEM_LENGTH], facts.gold.get(question.id), ballots)


def _abstentions(facts: Facts) -> Mapping[str, Mapping[str, int]]:
    """Abstentions on the test by member and reason; members without any are left out, and what was not asked."""
    counted = {
        name: Counter(ballot.reason.value for ballot in cast.values() if ballot.reason is not None and ballot.asked)
        for name, cast in facts.ballots.items()
    }
    return {name: reasons for name, reasons in counted.items() if reasons}


def _versions(facts: Facts) -> Mapping[str, Sequence[str]]:
    """Every version of each library that an adapter of this run was trained with, by library."""
    found: dict[str, dict[str, None]] = {}
    for training in facts.trainings.values():
        for name, version in training.figures.get("versions", {}).items():
            found.setdefault(name, {})[version] = None
    return {name: tuple(versions) for name, versions in sorted(found.items())}
