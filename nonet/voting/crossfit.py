"""Cross-fitting: what a vote is worth on questions that nothing of it was fitted on. Knows folds; fits nothing itself.

Selection, weights and temperatures that are fitted on validation look better there than they are. The guard: on each
fold of the validation questions the vote is taken by voters that were chosen on the other folds, and the answers of
all folds are scored together. Stems are never divided (`nonet.voting.labelled`). The estimate is of the procedure: the
voters that vote in the end are chosen on all validation questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nonet.voting.labelled import Labelled
from nonet.voting.score import Score
from nonet.voting.vote import Member, VoteSpec, tally
from nonet.voting.voters import choose_voters, is_fitted, measured

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Estimate:
    """A vote on the validation questions: `naive` by the voters that were chosen on them, `cross_fitted` by voters
    chosen on other ones. None where there is no validation, ballots are missing on it, or it has fewer than two
    stems. Where nothing is fitted the two are one figure.
    """

    naive: Score | None = None
    cross_fitted: Score | None = None

    def to_json(self) -> dict[str, Any]:
        """Both scores, and the number of folds."""
        scores = {"naive": self.naive, "cross_fitted": self.cross_fitted}
        return {name: score and score.to_json() for name, score in scores.items()} | {"folds": FOLDS}


def estimate(spec: VoteSpec, members: Sequence[Member], voters: Sequence[Member], known: Labelled) -> Estimate:
    """What the vote of `voters`, chosen from `members` under `spec`, comes to on `known`.

    Not cross-fitted where a member has no validation score.
    """
    if not known.complete(voter.name for voter in voters):
        return Estimate()
    naive = known.score(answers_of(spec, voters, known))
    if not is_fitted(spec, len(members)):
        return Estimate(naive, naive)
    complete = known.complete(member.name for member in members)
    found = cross_fitted(spec, [member.name for member in members], known) if complete else None
    return Estimate(naive, None if found is None else known.score(found))


def answers_of(spec: VoteSpec, voters: Sequence[Member], known: Labelled) -> dict[str, str | None]:
    """The letters of the vote on `known`, by question id."""
    return {verdict.question_id: verdict.letter for verdict in tally(known.questions, known.ballots, voters, spec)}


def cross_fitted(spec: VoteSpec, names: Sequence[str], known: Labelled) -> dict[str, str | None] | None:
    """The letters of votes on each fold by voters chosen on the others; None with fewer than two stems."""
    folds = known.folds(FOLDS)
    answers: dict[str, str | None] = {}
    for rest, fold in folds:
        voters = choose_voters(spec, measured(names, rest), rest)
        answers |= answers_of(spec, voters, fold)
    return answers if folds else None
