"""What `stop_when_decided` would have spared, from the ballots of finished runs: nothing is asked again.

`python -m bench.decided HOME [--members 3 5 9] [--draws 20]` takes every member that has answered the whole test of the
newest run in HOME, in whatever run, and draws ensembles of them. Each ensemble's test is answered in waves, as a run
would, by the ballots that stand there; its verdicts must be those of the full vote. `make bench` leaves such a home.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

from nonet.questions.problem import split_questions
from nonet.runs.plan import Plan, QuestionSet, plan_from_json
from nonet.stores.home import Home
from nonet.stores.storage import Storage
from nonet.voting.aggregation import collect, problems_of, validated
from nonet.voting.ballot import AbstentionReason, Ballot
from nonet.voting.decided import Polls
from nonet.voting.vote import Member, VoteSpec, tally

Cast = dict[str, Ballot]
Voter = tuple[Member, Cast]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--members", type=int, nargs="+", default=[3, 5, 9])
    parser.add_argument("--draws", type=int, default=20, help="ensembles of each size")
    arguments = parser.parse_args()
    storage = Storage(Home(arguments.home.resolve()))
    plans = [plan_from_json(storage.store.read(path)) for path in storage.plans()]
    questions = [(q.id, q.letters) for q in split_questions(problems_of(storage, plans[-1], QuestionSet.TEST.value))]
    of_test = [plan for plan in plans if plan.inputs["test"] == plans[-1].inputs["test"]]
    pool = [voter for plan in of_test for voter in voters(storage, plan, questions)]
    print(f"{len(pool)} members of {len(of_test)} runs, {len(questions)} questions")
    print("members  spared: mean, least, most  full over asked")
    source = random.Random(0)
    for count in (count for count in arguments.members if count <= len(pool)):
        found = [spared(source.sample(pool, count), questions) for _ in range(arguments.draws)]
        mean = statistics.mean(found)
        print(f"{count:7}  {mean:.3f}, {min(found):.3f}, {max(found):.3f}           {1 / (1 - mean):.2f}")


def voters(storage: Storage, plan: Plan, questions: Sequence[tuple[str, str]]) -> list[Voter]:
    """The members of a run that have answered every question of its test, with their validation."""
    cells = [cell for cell in plan.cells if storage.has(cell.scope, cell.key)]
    cast, known = collect(storage, cells, QuestionSet.TEST), validated(storage, plan, cells)
    return [
        (Member(f"{plan.run}/{name}", known.accuracy(name)), dict(own))
        for name, own in cast.items()
        if all(question in own and own[question].asked for question, _ in questions)
    ]


def spared(ensemble: Sequence[Voter], questions: Sequence[tuple[str, str]]) -> float:
    """The part of an ensemble's ballots that a majority vote which stops when decided does not ask for."""
    ranked = sorted(ensemble, key=lambda voter: (-voter[0].merit, voter[0].name))
    full = {member.name: cast for member, cast in ranked}
    polls = Polls(dict(questions), [(name, 1.0) for name in full])
    early: dict[str, Cast] = {}
    waiting = list(full)
    while waiting:
        wave, open_ = polls.wave(waiting), frozenset(polls.open())
        for name in wave or tuple(waiting):
            asked = open_ if wave else frozenset()
            polls.take(name, {question: full[name][question].letters for question in asked})
            unasked = {q: Ballot(q, None, (), AbstentionReason.DECIDED) for q, _ in questions if q not in asked}
            early[name] = {question: full[name][question] for question in asked} | unasked
            waiting.remove(name)
    members = [member for member, _ in ranked]
    whole, found = (tally(questions, cast, members, VoteSpec()) for cast in (full, early))
    if [(v.letter, v.level) for v in whole] != [(v.letter, v.level) for v in found]:
        raise AssertionError("stopping changed a verdict")
    return sum(verdict.unasked for verdict in found) / (len(members) * len(questions))


if __name__ == "__main__":
    main()
