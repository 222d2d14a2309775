"""Voters: which members vote, and what their ballots weigh. All of it is fitted on validation ballots.

Knows selection, weights and temperatures. Counts no votes: `nonet.voting.vote` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nonet.voting.calibration import temperature
from nonet.voting.labelled import Labelled
from nonet.voting.vote import SOFT, Member, VoteSpec

BAGS, SEED = 20, 0
"""Of greedy selection: bags of members, and the seed that they are drawn with."""
DIGITS = 6
"""Decimals of a weight."""


def measured(names: Sequence[str], known: Labelled) -> tuple[Member, ...]:
    """A member for each of `names`, with its accuracy on `known`."""
    return tuple(Member(name, known.accuracy(name)) for name in names)


def choose_voters(spec: VoteSpec, members: Sequence[Member], known: Labelled) -> tuple[Member, ...]:
    """The members that vote, in order of merit (by validation, best first, then by name), with their weights and
    temperatures under `spec`; `known` are the validation ballots that these are fitted on.

    Raises ValueError where a name is unknown, there are fewer members than `spec.members`, or a member that has no
    validation score needs one. A partial vote ranks such a member last, gives it the mean weight and temperature 1,
    and gives it no seat by greedy selection.
    """
    ranked = _candidates(spec, members)
    if spec.method == "soft-calibrated":
        ranked = tuple(_calibrated(member, known) for member in ranked)
    chosen = _seated(spec, ranked, known)
    return _weighed(spec, chosen, known) if spec.method == "weighted" else chosen


def is_fitted(spec: VoteSpec, members: int) -> bool:
    """Whether a vote of some of so many `members` depends on validation beyond breaking ties."""
    fewer = spec.members is not None and spec.members < members and spec.select == "validation"
    return fewer or spec.select == "greedy" or spec.method in ("weighted", "soft-calibrated")


def _candidates(spec: VoteSpec, members: Sequence[Member]) -> tuple[Member, ...]:
    if isinstance(spec.select, tuple):
        by_name = {member.name: member for member in members}
        unknown = [name for name in spec.select if name not in by_name]
        if unknown:
            raise ValueError(f"no such members to select: {', '.join(unknown)}; there are {', '.join(by_name)}")
        members = [by_name[name] for name in dict.fromkeys(spec.select)]
    ranked = tuple(sorted(members, key=lambda member: (-member.merit, member.name)))
    seats = len(ranked) if spec.members is None else spec.members
    if not ranked or seats > len(ranked):
        raise ValueError(f"{seats} members are to vote, but there are {len(ranked)}")
    if seats < len(ranked) and spec.select not in ("validation", "greedy"):
        raise ValueError(f"{seats} members are to vote, but select gives {len(ranked)}: select by validation")
    unscored = [member.name for member in ranked if member.validation is None]
    if unscored and not spec.allow_partial and is_fitted(spec, len(ranked)):
        what = f"select by {spec.select}" if spec.select in ("validation", "greedy") else f"vote {spec.method}"
        raise ValueError(f"cannot {what}: no validation score for {', '.join(unscored)}; finish their validation")
    return ranked


def _seated(spec: VoteSpec, ranked: tuple[Member, ...], known: Labelled) -> tuple[Member, ...]:
    count = len(ranked) if spec.members is None else spec.members
    if spec.select != "greedy":
        return ranked[:count]
    from nonet.voting.greedy import seats  # and with it numpy, which no other vote needs

    able = [member for member in ranked if member.validation is not None]
    if not able:
        raise ValueError("cannot select greedily: no member has a validation score")
    temperatures = {member.name: member.temperature for member in able}
    names = [member.name for member in able]
    soft = spec.method in SOFT
    won = seats(names, known, count, soft=soft, temperatures=temperatures, bags=BAGS, seed=SEED)
    kept = sorted(won, key=lambda name: (-won[name], names.index(name)))[:count]
    mean = sum(won[name] for name in kept) / len(kept)
    return tuple(
        replace(member, weight=round(won[member.name] / mean, DIGITS)) for member in able if member.name in kept
    )


def _calibrated(member: Member, known: Labelled) -> Member:
    if member.validation is None:
        return member
    return replace(member, temperature=temperature(known.cast(member.name), known.gold, known.letters))


def _weighed(spec: VoteSpec, chosen: Sequence[Member], known: Labelled) -> tuple[Member, ...]:
    weights = weights_of({m.name: m.validation for m in chosen if m.validation is not None}, known, spec.weights)
    return tuple(
        replace(member, weight=round(member.weight * weights.get(member.name, 1.0), DIGITS)) for member in chosen
    )


def weights_of(accuracies: Mapping[str, float], known: Labelled, how: str) -> dict[str, float]:
    """Weights with mean 1 by accuracy ("accuracy") or by its log-odds over those of chance ("log-odds").

    Log-odds are the best weights of independent voters: L. Shapley and B. Grofman, Public Choice 43 (1984) 329-343.
    An accuracy is first drawn towards the mean of all by one standard error of that mean, and at most as far as to
    it: what lies within one standard error counts as equal, so that a small validation set gives equal weights. A
    member that is not above chance weighs almost nothing.
    """
    if not accuracies:
        return {}
    mean = math.fsum(accuracies.values()) / len(accuracies)
    error = math.sqrt(mean * (1 - mean) / len(known.gold))
    raw = {name: _weight(_shrunk(value, mean, error), known, how) for name, value in accuracies.items()}
    average = math.fsum(raw.values()) / len(raw)
    return {name: value / average for name, value in raw.items()}


def _shrunk(value: float, mean: float, error: float) -> float:
    off = value - mean
    return mean + math.copysign(max(0.0, abs(off) - error), off)


def _weight(accuracy: float, known: Labelled, how: str) -> float:
    least = 1e-3
    if how == "accuracy":
        return max(least, accuracy)
    half = 0.5 / (len(known.gold) + 1)  # the odds of an accuracy of 0 or 1 stay finite
    bounded = min(1 - half, max(half, accuracy))
    return max(least, _log_odds(bounded) - _log_odds(known.chance))


def _log_odds(share: float) -> float:
    return math.log(share / (1 - share))
