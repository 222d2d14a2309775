"""Checks of what a run came to: that its vote, submission, manifest and score follow from its ballots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nonet.questions.problem import Problem, split_questions
from nonet.runs.plan import VOTES, Plan, QuestionSet
from nonet.runs.run_score import manifest_of, remembered_gold, remembered_score
from nonet.stores.key import digest
from nonet.stores.storage import DamagedError, DamagedInputError, Storage
from nonet.verification.check import Check, Outcome
from nonet.voting.aggregation import aggregate, problems_of, spec_of
from nonet.voting.score import score_answers
from nonet.voting.vote import MissingBallotsError

_FLEET = "a fleet writes it again from the ballots (`nonet up`)"
_GOING = "`nonet status {run}` says what is left to do"


def check_vote(storage: Storage, plan: Plan) -> Iterator[Check]:
    """The vote taken again from the ballots gives the committed vote, and the submission and manifest of the run's
    folder to the byte. Ballots and inputs are taken to be sound.
    """
    try:
        result = aggregate(storage, plan, spec_of(plan))
    except MissingBallotsError as error:
        yield Check(Outcome.MISSING, "vote", str(error).partition(". ")[0], _GOING.format(run=plan.run))
        return
    except ValueError as error:
        yield Check(Outcome.FAIL, "vote", f"the ballots give none: {error}", _GOING.format(run=plan.run))
        return
    yield _committed(storage, result.key, digest(result.submission))
    home, store = storage.home, storage.store
    path = home.submission(plan.run, plan.submission)
    place = store.place(path)
    try:
        written = store.read(path)
    except FileNotFoundError:
        pass  # check_submission says so
    else:
        if written == result.submission:
            text = f"{place} is what {len(result.voters)} members' ballots give, to the byte"
            yield Check(Outcome.PASS, "submission", f"{text} ({digest(written)[:12]})")
        else:
            wrong = _first_difference(written, result.submission)
            yield Check(Outcome.FAIL, "submission", f"{place} does not follow from the ballots: {wrong}", _FLEET)
    place = store.place(home.manifest(plan.run, plan.submission))
    manifest = manifest_of(storage, plan)
    if manifest is None:
        yield Check(Outcome.MISSING, "manifest", f"{place} is not there, or no JSON", _FLEET)
    elif manifest == json.loads(json.dumps(result.manifest)):
        yield Check(Outcome.PASS, "manifest", f"{place} says what the submission follows from")
    else:
        names = sorted(n for n in {*manifest, *result.manifest} if manifest.get(n) != result.manifest.get(n))
        yield Check(Outcome.FAIL, "manifest", f"{place} does not follow from the ballots: {', '.join(names)}", _FLEET)


def check_submission(storage: Storage, plan: Plan) -> Iterator[Check]:
    """The submission answers each question of the test once, in the test's order, as its manifest has it."""
    path = storage.home.submission(plan.run, plan.submission)
    place = storage.store.place(path)
    try:
        data = storage.store.read(path)
        test = problems_of(storage, plan, QuestionSet.TEST.value)
    except FileNotFoundError:
        yield Check(Outcome.MISSING, "submission", f"{place} is not there", _FLEET)
        return
    except (DamagedInputError, ValueError):
        yield Check(Outcome.UNCHECKED, "submission", f"{place} has no test to be compared with", "mend the inputs")
        return
    wrong = _misses(data, test)
    manifest = manifest_of(storage, plan) or {}
    told = manifest.get("submission", {}).get("sha256")
    if not wrong and told is not None and told != digest(data):
        wrong = f"its manifest says {str(told)[:12]}, it has {digest(data)[:12]}"
    if wrong:
        yield Check(Outcome.FAIL, "submission", f"{place}: {wrong}", _FLEET)
    else:
        count = sum(len(problem.questions) for problem in test)
        yield Check(Outcome.PASS, "submission", f"{place} answers {count:,} questions once, in the test's order")


def _misses(data: bytes, test: tuple[Problem, ...]) -> str:
    """How a submission misses the test, "" where it does not."""
    try:
        found = list(_letters(data))
    except (ValueError, KeyError, TypeError):
        return "it holds a line that is no row of a submission"
    asked = split_questions(test)
    for (name, letter), question in zip(found, asked, strict=False):
        if name != question.id:
            return f"it has {name} where the test has {question.id}"
        if not isinstance(letter, str) or len(letter) != 1 or letter not in question.letters:
            return f"it says {letter!r} on {name}, which has {question.letters}"
    return "" if len(found) == len(asked) else f"it answers {len(found)} questions of {len(asked)}"


def check_score(storage: Storage, plan: Plan) -> Iterator[Check]:
    """The remembered score, if there is one, is that of the submission against the gold that it names."""
    path = storage.home.score(plan.run)
    if not storage.store.exists(path):
        return
    place = storage.store.place(path)
    remedy = f"`nonet score {plan.run} GOLD` writes it again"
    score, gold = remembered_score(storage, plan), remembered_gold(storage, plan)
    if score is None or not gold:
        text = "is of another vote than the present one, or damaged" if score is None else "names a gold that is gone"
        yield Check(Outcome.UNCHECKED, "score", f"{place} {text}", remedy)
        return
    try:
        answers = dict(_letters(storage.store.read(storage.home.submission(plan.run, plan.submission))))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        yield Check(Outcome.UNCHECKED, "score", f"{place}: there is no submission to score", _FLEET)
        return
    found = score_answers(answers, split_questions(gold))
    if (found.correct, found.total) == (score.submission.correct, score.submission.total):
        yield Check(Outcome.PASS, "score", f"{place}: {found.correct} of {found.total} right, counted again")
    else:
        said = score.submission
        text = f"{place} says {said.correct} of {said.total}, it is {found.correct} of {found.total}"
        yield Check(Outcome.FAIL, "score", text, remedy)


def _committed(storage: Storage, key: str, sha256: str) -> Check:
    place = storage.store.place(storage.home.commits(VOTES) / f"{key}.json")
    remedy = f"remove that record; {_FLEET}"
    try:
        commit = storage.examine(VOTES, key)
        if commit is None:
            return Check(Outcome.MISSING, "vote", f"the ballots' vote {key[:12]} is not committed", _FLEET)
        if commit.body["manifest"]["submission"]["sha256"] != sha256:
            return Check(Outcome.FAIL, "vote", f"{place} is of another submission than its ballots give", remedy)
    except (DamagedError, KeyError, TypeError) as error:
        return Check(Outcome.FAIL, "vote", f"{place}: {error}", remedy)
    return Check(Outcome.PASS, "vote", f"taken again from the ballots, it is the committed one ({key[:12]})")


def _first_difference(written: bytes, wanted: bytes) -> str:
    try:
        found, right = (list(_letters(data)) for data in (written, wanted))
    except (ValueError, KeyError, TypeError):
        return "it holds a line that is no row of a submission"
    for have, should in zip(found, right, strict=False):
        if have[0] != should[0]:
            return f"it has {have[0]} where the test has {should[0]}"
        if have[1] != should[1]:
            return f"it says {have[1]} on {have[0]}, the ballots say {should[1]}"
    if len(found) != len(right):
        return f"it answers {len(found)} questions of {len(right)}"
    return "its rows are right, but not written as Nonet writes them"


def _letters(data: bytes) -> Iterator[tuple[str, Any]]:
    for line in data.splitlines():
        row = json.loads(line)
        yield from ((f"{row['id']}#{at}", entry["answer"]) for at, entry in enumerate(row["questions"]))
