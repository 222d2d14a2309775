"""The vote as it forms: what the ballots at hand say while others are still to come. Decides nothing, writes nothing.

Counts as `nonet.voting.vote` counts, by majority over every member; the vote itself, with the members and weights that
the batch asks for, is taken once all ballots are there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from nonet.questions.problem import split_questions
from nonet.runs.plan import GOLD, Cell, Plan, QuestionSet
from nonet.stores.storage import DamagedError, Storage
from nonet.voting.aggregation import problems_of
from nonet.voting.ballot import Ballot
from nonet.voting.vote import Level, Member, Verdict, VoteSpec, tally
from scheduler.state import RunState, UnitState

CELLS = 300
"""Most cells whose ballots are read in one look: what many workers answer at once is counted a look later."""
BALLOTS = 400_000
"""Most ballots that are kept; a larger run is counted once it is complete, by its vote."""


@dataclass(frozen=True, slots=True)
class MemberSoFar:
    """What one member has said so far: questions `answered` of the test (of which `abstained` without a letter, and
    `leading` with the letter that leads), and `right` of the `measured` questions of the validation."""

    name: str
    answered: int
    abstained: int
    leading: int
    right: int
    measured: int


@dataclass(frozen=True, slots=True)
class Tally:
    """The test so far: questions in all, with any ballot, with every member's; how the leading letter leads."""

    questions: int
    asked: int
    complete: int
    unanimous: int
    majority: int
    tied: int
    members: tuple[MemberSoFar, ...]


class Forming:
    """The ballots of one run that have been counted so far."""

    def __init__(self, storage: Storage, plan: Plan) -> None:
        self._storage = storage
        self._plan = plan
        self._cast: dict[QuestionSet, dict[str, dict[str, Ballot]]] = {each: {} for each in QuestionSet}
        self._counted: set[str] = set()
        self._unasked: Counter[str] = Counter()
        self._tally: Tally | None = None
        self.waiting = 0
        """Committed cells that are not counted yet."""

    @property
    def too_large(self) -> bool:
        return len(self._plan.adapters) * sum(shard.questions for shard in self._plan.shards) > BALLOTS

    def count(self, state: RunState) -> None:
        """Count what `state` has beyond what was counted before; raises OSError."""
        if self.too_large:
            return
        committed = zip(self._plan.cells, state.cells, strict=True)
        new = [c for c, unit in committed if unit.state is UnitState.COMMITTED and c.key not in self._counted]
        for cell in new[:CELLS]:
            self._read(cell)
        self.waiting = max(0, len(new) - CELLS)
        if new:
            self._tally = None

    def tally(self) -> Tally:
        """What the ballots that are counted come to; raises OSError, nonet.stores.storage.DamagedError."""
        if self._tally is None:
            self._tally = self._taken()
        return self._tally

    def _read(self, cell: Cell) -> None:
        try:
            commit = self._storage.read(cell.scope, cell.key)
        except DamagedError:  # set aside, it is answered again
            return
        if commit is not None:
            own = self._cast[cell.shard.set].setdefault(cell.adapter.name, {})
            ballots = [Ballot.from_json(row) for row in commit.body["ballots"]]
            own.update((b.question_id, b) for b in ballots if b.asked)
            self._unasked.update(b.question_id for b in ballots if not b.asked)
            self._counted.add(cell.key)

    def _taken(self) -> Tally:
        cast = self._cast[QuestionSet.TEST]
        names = [adapter.name for adapter in self._plan.adapters]
        asked = Counter(question for ballots in cast.values() for question in ballots)
        test = split_questions(problems_of(self._storage, self._plan, QuestionSet.TEST))
        verdicts = tally(
            [(q.id, q.letters) for q in test if asked[q.id]],
            cast,
            [Member(name) for name in names],
            VoteSpec(allow_partial=True, quorum=1),
        )
        gold = {q.id: q.gold for q in split_questions(problems_of(self._storage, self._plan, GOLD))}
        leads = {verdict.question_id: verdict.letter for verdict in verdicts}
        by_majority = [verdict for verdict in verdicts if verdict.level is Level.MAJORITY]
        alone = sum(_unanimous(verdict) for verdict in by_majority)
        return Tally(
            questions=len(test),
            asked=len(asked),
            complete=sum(count + self._unasked[question] == len(names) for question, count in asked.items()),
            unanimous=alone,
            majority=len(by_majority) - alone,
            tied=len(verdicts) - len(by_majority),
            members=tuple(self._member(name, leads, gold) for name in names),
        )

    def _member(self, name: str, leads: Mapping[str, str], gold: Mapping[str, str | None]) -> MemberSoFar:
        own = self._cast[QuestionSet.TEST].get(name, {})
        validated = self._cast[QuestionSet.VALIDATION].get(name, {})
        return MemberSoFar(
            name=name,
            answered=len(own),
            abstained=sum(ballot.letter is None for ballot in own.values()),
            leading=sum(ballot.letter == leads.get(question) for question, ballot in own.items()),
            right=sum(ballot.letter == gold.get(question) for question, ballot in validated.items()),
            measured=len(validated),
        )


def _unanimous(verdict: Verdict) -> bool:
    """Whether every ballot so far has the same letter."""
    return len(verdict.votes) == 1 and not verdict.abstentions
