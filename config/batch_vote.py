"""Rules between the vote of a batch file and its mixes.

Knows when a vote cannot be held as written: too many members, unknown names, a quorum without a partial vote.
"""

from __future__ import annotations

from config.batch_defect import nearest
from config.batch_schema import VoteEntry
from config.batch_yaml import Document, KeyPath
from nonet.runs.plan import adapter_name
from nonet.voting.decided import CLOSING
from nonet.voting.vote import SOFT


def check_vote(document: Document) -> None:
    """Note every defect of the section `vote` that shows only beside the mixes and the validation."""
    names = adapter_names(document)
    vote = document.mapping_at("vote")
    voters = _check_select(document, vote.get("select", "all"), names)
    entry = VoteEntry.sound(vote)
    if entry is None:
        return
    if entry.members is not None and names and entry.members > voters:
        remedy = f"Write at most {voters}, or add mixes."
        document.refuse(("vote", "members"), str(entry.members), f"only {voters} can vote", remedy)
    elif entry.members is not None and entry.members < voters and entry.select not in ("validation", "greedy"):
        remedy = "Write select: validation to let the best vote, or leave members out."
        message = f"select gives {voters} members, not {entry.members}"
        document.refuse(("vote", "members"), str(entry.members), message, remedy)
    _check_method(document, entry)
    _check_quorum(document, entry, entry.members or voters)
    if document.mapping_at("inference").get("stop_when_decided") is True:
        _check_stop(document, entry)


def adapter_names(document: Document) -> list[str]:
    """Names of the adapters that the file makes, every mix over every base, and of those that it imports."""
    mixes, bases = document.mapping_at("mixes"), list(document.mapping_at("bases")) or [""]
    made = [adapter_name(mix, base, len(bases)) for base in bases for mix in mixes]
    imports = document.mapping_at("adapters")
    return made + [adapter_name(n, str(document.at(("adapters", n, "base"))), len(bases)) for n in imports]


def _check_select(document: Document, select: object, names: list[str]) -> int:
    """How many members `select` can give."""
    path: KeyPath = ("vote", "select")
    if select in ("validation", "greedy") and document.value.get("validation") is None:
        remedy = "Add a validation section, or select all, or a list of mix names."
        document.refuse(path, str(select), "there is no validation to select by", remedy)
    if not isinstance(select, list):
        return len(names)
    noun, plural = ("adapter", "Adapters") if len(document.mapping_at("bases")) > 1 else ("mix", "Mixes")
    for at, name in enumerate(select):
        if isinstance(name, str) and name not in names:
            remedy = f"{nearest(name, names)}{plural} here: {', '.join(names) or 'none'}."
            document.refuse((*path, at), repr(name), f"no {noun} has this name", remedy)
        if name in select[:at]:
            document.refuse((*path, at), repr(name), f"the {noun} is named twice", f"Name each {noun} once.")
    return len(select)


def _check_method(document: Document, entry: VoteEntry) -> None:
    path: KeyPath = ("vote", "method")
    if entry.method in ("weighted", "soft-calibrated") and document.value.get("validation") is None:
        remedy = "Add a validation section, or vote by majority or soft."
        document.refuse(path, entry.method, "there is no validation to fit it on", remedy)
    if entry.method in SOFT and document.text_at("inference", "answer") == "text":
        remedy = "Vote by majority or weighted, or write answer: letter."
        document.refuse(path, entry.method, "a reply in text has no log-probabilities to add up", remedy)
    if entry.weights is not None and entry.method != "weighted":
        remedy = "Remove it, or write method: weighted."
        document.refuse(
            ("vote", "weights"), entry.weights, f"method {entry.method} weighs nobody by validation", remedy
        )


def _check_stop(document: Document, entry: VoteEntry) -> None:
    path: KeyPath = ("inference", "stop_when_decided")
    if entry.method not in CLOSING:
        remedy = f"Remove it, or vote by {' or '.join(CLOSING)}."
        message = f"a vote by {entry.method} adds up every member's log-probabilities: the last one could change it"
        document.refuse(path, "true", message, remedy)
    if entry.allow_partial:
        remedy = "Remove it, or vote.allow_partial."
        document.refuse(path, "true", "a partial vote is held without ballots that this counts on", remedy)


def _check_quorum(document: Document, entry: VoteEntry, members: int) -> None:
    path: KeyPath = ("vote", "quorum")
    if entry.quorum is None:
        if entry.allow_partial:
            remedy = "Add quorum: the fewest ballots that a question needs."
            document.refuse(("vote", "allow_partial"), "true", "a partial vote without quorum", remedy)
    elif not entry.allow_partial:
        remedy = "Remove it, or write allow_partial: true."
        document.refuse(path, str(entry.quorum), "a quorum means nothing in a full vote", remedy)
    elif entry.quorum > members:
        document.refuse(path, str(entry.quorum), "more than the members", f"Write at most {members}.")
