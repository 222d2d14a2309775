"""A run from Python: its state, ballots, votes and scores. Knows which function of the command does what."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.compare import compared_ways
from cli.diff import compared_runs
from cli.explain import contested_questions, explanation, gold_letters
from cli.rerun import forgive, meant_again, stop
from cli.scoring import Scored, score_run
from cli.session import Session
from cli.share import exported
from cli.vote import spec_with, voted
from cli.watch import Looks
from nonet.report.page import write_report
from nonet.runs.difference import Difference
from nonet.runs.explain import NEAREST, Contested, Explanation
from nonet.runs.plan import Plan, QuestionSet
from nonet.runs.result import submission_of
from nonet.runs.results import Results, results_of
from nonet.runs.run_score import remembered_gold
from nonet.verification import Check, verify
from nonet.voting.aggregation import Aggregation
from nonet.voting.comparison import Comparison
from nonet_client.frames import ballots_frame, cells_frame, members_frame, verdicts_frame
from scheduler.state import Phase, RunState

if TYPE_CHECKING:
    from pandas import DataFrame

PathLike = str | os.PathLike[str]


class Run:
    """One run of a home. Records are frozen; each call looks anew."""

    def __init__(self, session: Session, plan: Plan) -> None:
        self._session = session
        self.plan = plan

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    @property
    def id(self) -> str:
        return self.plan.run

    # Where it stands, and what to do about it.

    def status(self) -> RunState:
        """The state now: phase, adapters, cells, vote; without a Redis, what waits in queues is not known."""
        return self._session.state(self.plan)[0]

    def cells(self) -> DataFrame:
        """The grid as a table: a row for each member and shard, with state, attempts, error."""
        return cells_frame(self.status())

    def watch(self, timeout: float | None = None, seen: Callable[[RunState], object] | None = None) -> Phase:
        """Wait until the run ends, or `timeout` seconds; its phase then. `seen` is called with each state."""
        looks = Looks(self._session, self.plan, timeout)
        while True:
            state, _ = looks.now()
            if seen is not None:
                seen(state)
            if looks.last(state):
                return state.phase
            looks.wait()

    def rerun(
        self, *, adapters: Sequence[str] = (), shards: Sequence[str] = (), dry_run: bool = False
    ) -> tuple[str, ...]:
        """Try again what has failed, of these adapters and shards or of all; the names of what is tried again.

        A cancelled run is taken up again. Raises RefusedError for unknown names, and where all selected is committed.
        """
        again = meant_again(self._session, self.plan, failed=False, adapters=adapters, shards=shards)
        if not dry_run:
            forgive(self._session, self.plan, again)
        return tuple(unit.name for unit in again)

    def cancel(self) -> bool:
        """Stop the run, durably; False where it was complete or cancelled before."""
        return self.status().phase is not Phase.COMPLETE and stop(self._session, self.plan)[0]

    # What it came to.

    def ballots(self, questions: str = "test") -> DataFrame:
        """Every ballot on `test` or `validation`: member, question, letter, reason, p_A, p_B, … (NaN: not known)."""
        return ballots_frame(self._session.storage, self.plan, QuestionSet(questions))

    def vote(self, select: str | None = None, **settings: Any) -> Aggregation:
        """The vote over the ballots at hand, with other settings than the batch's where given
        (nonet.voting.vote.VoteSpec).

        Writes nothing. Raises MissingBallotsError, RefusedError.
        """
        return voted(self._session, self.plan, spec_with(self.plan, select, **settings))

    def verdicts(self, select: str | None = None, **settings: Any) -> DataFrame:
        """The verdicts of `vote` as a table: question, letter, level, margin, votes, gold where it is known."""
        gold = gold_letters(self._session, self.plan, None)
        return verdicts_frame(self.vote(select, **settings).verdicts, gold)

    def compare(self, members: int | None = None, gold: PathLike | None = None) -> Comparison:
        """Every method and selection side by side; raises RefusedError."""
        return compared_ways(self._session, self.plan, members, None if gold is None else Path(gold))

    def score(self, gold: PathLike, submission: PathLike | None = None) -> Scored:
        """The score against `gold`, of the run's submission or another one; the own is remembered, as by `nonet score`.

        Raises DefectsError, RefusedError.
        """
        return score_run(self._session, self.plan, Path(gold), None if submission is None else Path(submission))

    def results(self, **settings: Any) -> Results:
        """Accuracies of members and vote on validation, and on the test once `score` has known its gold."""
        spec = spec_with(self.plan, **settings)
        gold = remembered_gold(self._session.storage, self.plan)
        return results_of(self._session.storage, self.plan, voted(self._session, self.plan, spec), spec, gold)

    def scores(self, **settings: Any) -> DataFrame:
        """`results` as a table: a row a member and one for the vote, accuracies with their 95 % intervals."""
        return members_frame(self.results(**settings))

    # Whether to trust it.

    def explain(self, question: str, gold: PathLike | None = None, nearest: int = NEAREST) -> Explanation:
        """Why a question was answered as it was; raises RefusedError."""
        letters = gold_letters(self._session, self.plan, None if gold is None else Path(gold))
        return explanation(self._session, self.plan, question, letters, nearest)

    def contested(self, most: int = 20, gold: PathLike | None = None) -> tuple[Contested, ...]:
        """The questions that were decided by the least; raises RefusedError, MissingBallotsError."""
        letters = gold_letters(self._session, self.plan, None if gold is None else Path(gold))
        return contested_questions(self._session, self.plan, letters, most)

    def diff(self, other: str | Run, gold: PathLike | None = None) -> Difference:
        """What changed from this run to another one; raises RefusedError."""
        plan = other.plan if isinstance(other, Run) else self._session.plan(other)
        return compared_runs(self._session, self.plan, plan, None if gold is None else Path(gold))

    def verify(self) -> tuple[Check, ...]:
        """Every check from the plan to the submission; changes nothing."""
        return verify(self._session.storage, self.plan)

    # What to hand on.

    def report(self) -> str:
        """Write report.html of the run; where it is."""
        write_report(self._session.storage, self._session.attempts, self.plan)
        return self._session.store.place(self._session.home.report(self.id))

    def submission(self) -> bytes | None:
        """The submission, None while there is none."""
        return submission_of(self._session.storage, self.plan)

    def export(self, path: PathLike, *, data: bool = True, ballots: bool = True) -> Path:
        """Pack the run at `path`, a file that ends in .tar or a folder; raises RefusedError."""
        exported(self._session, self.plan, Path(path), data=data, ballots=ballots)
        return Path(path)
