"""A soak: faults at random from a seed, on real processes, until the time is up; every run must keep the promises.

`python -m tests.faults.chaos --minutes 10 --seed 7`. Ends in one line of counts, of which the last three must be 0.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from nonet.runs.attempt import Outcome
from nonet.runs.plan import Plan
from scheduler.state import Phase, RunState, UnitState
from tests.faults.injections import KINDS, Explained, Injector
from tests.faults.paced import PacedRig
from tests.faults.proxy import Proxy
from tests.promises import check_promises, executions
from tests.rig import ROOT, STACKS

BATCH = ROOT / "config" / "batches" / "demo.yaml"
WORKERS = ("w0", "w1")
ROUND_LIMIT = 1800.0
"""Seconds after which a run that has not come to its end counts as stuck."""


@dataclass
class Counts:
    """What a soak came to."""

    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    executions: int = 0
    wasted: int = 0
    lost: int = 0
    duplicated: int = 0
    mismatched: int = 0
    broken: list[str] = field(default_factory=list)

    def line(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        return (
            f"runs {self.runs}, faults {self.faults.total()} ({kinds}), executions {self.executions}, "
            f"wasted executions {self.wasted}, lost {self.lost}, duplicated {self.duplicated}, "
            f"mismatched submissions {self.mismatched}"
        )

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.duplicated or self.mismatched or self.broken)


class RealRig(PacedRig):
    """A rig with all the faults of the paced one, whose compute processes are the real ones. Kills are no poison."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, NONET_FAILURE_LIMIT="1000")
        self.environment["NONET_STACKS"] = str(STACKS)
        self.settings = self.settings.model_copy(update={"failure_limit": 1000, "stacks": STACKS})


def soak(root: Path, batch: Path, expected: bytes, seconds: float, seed: int, every: float) -> Counts:
    """Run `batch` again and again for `seconds`, with a fault every `every` seconds or so; `expected` is the fault-free
    submission."""
    dice, counts = random.Random(seed), Counts()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        folder = root / f"run-{counts.runs}"
        with RealRig(folder) as rig, Proxy(rig.port) as proxy:
            _run(rig, proxy, batch, expected, end, dice, every, counts)
        if counts.kept:
            shutil.rmtree(folder)
    return counts


def _run(
    rig: RealRig,
    proxy: Proxy,
    batch: Path,
    expected: bytes,
    end: float,
    dice: random.Random,
    every: float,
    counts: Counts,
) -> None:
    rig.worlds |= {name: rig.through(proxy) for name in ("scheduler", *WORKERS)}
    rig.start("redis", "scheduler", "cpu", *WORKERS)
    plan = rig.submit(batch)
    injector = Injector(rig, proxy, plan, dice, WORKERS)
    began = time.monotonic()
    explained = Explained()
    while rig.phase(plan) is not Phase.COMPLETE and time.monotonic() - began < ROUND_LIMIT:
        next_fault = time.monotonic() + every * dice.uniform(0.5, 1.5)
        while time.monotonic() < next_fault and rig.phase(plan) is not Phase.COMPLETE:
            time.sleep(0.2)
        if time.monotonic() < end and rig.phase(plan) is not Phase.COMPLETE:
            kind = dice.choice(sorted(KINDS))
            found = KINDS[kind](injector)
            if found is not None:
                explained.add(found)
                counts.faults[kind] += 1
                print(f"run {counts.runs} after {time.monotonic() - began:.0f} s: {kind}", flush=True)
    _count(rig, plan, expected, explained, counts)


def _count(rig: RealRig, plan: Plan, expected: bytes, explained: Explained, counts: Counts) -> None:
    state = rig.state(plan)
    begun, tried = executions(rig, state)
    counts.runs += 1
    counts.executions += begun
    counts.wasted += begun - tried
    counts.lost += sum(u.state is not UnitState.COMMITTED for u in state.units)
    counts.duplicated += _duplicated(rig, state, explained)
    counts.mismatched += state.phase is not Phase.COMPLETE or rig.submission(plan) != expected
    try:
        check_promises(rig, plan, expected=expected, extra_executions=explained.executions, deleted=explained.deleted)
    except Exception as error:  # whatever it is, the soak goes on and tells it at its end
        counts.broken.append(f"run {counts.runs - 1} in {rig.home}: {error}\n{rig.tails()}")


def _duplicated(rig: RealRig, state: RunState, explained: Explained) -> int:
    """Keys with more results than one and those that a fault took away."""
    count = 0
    for unit in state.units:
        committed = sum(a.outcome is Outcome.COMMITTED for a in rig.attempts.history(unit.key))
        gone = len(list(rig.storage.home.quarantine.glob(f"{unit.scope}.{unit.key}.*"))) + (
            unit.key in explained.deleted
        )
        count += committed > 1 + gone
    return count


def undisturbed_submission(root: Path, batch: Path) -> bytes:
    """The submission of `batch` when nothing happens."""
    with RealRig(root) as rig:
        rig.start("redis", "scheduler", "cpu", *WORKERS)
        plan = rig.submit(batch)
        rig.finish(plan, ROUND_LIMIT)
        return rig.submission(plan)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--every", type=float, default=8.0, help="seconds between two faults, on average")
    parser.add_argument("--batch", type=Path, default=BATCH)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="nonet-chaos-"))
    print(f"seed {options.seed}; {options.minutes:g} minutes on {options.batch.name}; in {root}", flush=True)
    expected = undisturbed_submission(root / "undisturbed", options.batch)
    print("the undisturbed run is done", flush=True)
    counts = soak(root, options.batch, expected, options.minutes * 60, options.seed, options.every)
    print(*counts.broken, sep="\n", file=sys.stderr)
    print(counts.line())
    if counts.kept:
        shutil.rmtree(root)
    return 0 if counts.kept else 1


if __name__ == "__main__":
    sys.exit(main())
