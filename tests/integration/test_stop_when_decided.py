"""A run that stops when decided: the same submission as the full run over the same adapters, with fewer ballots."""

from __future__ import annotations

import json
from pathlib import Path

from cli.exit_codes import ExitCode
from nonet.runs.plan import QuestionSet
from scheduler.state import Phase
from tests.rig import Rig
from tests.small_batch import DEMO, write_batch


def test_same_submission_with_fewer_ballots(rig: Rig, tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "batch", mixes=3, rows=12, epochs=1)
    stopping = batch.with_name("stopping.yaml")
    stopping.write_text(batch.read_text("utf-8").replace("shard_size: 5", "shard_size: 5, stop_when_decided: true"))
    rig.start_all(workers=1)
    full = rig.submit(batch)
    rig.wait_for_phase(full, Phase.COMPLETE)
    stopped = rig.submit(stopping)
    rig.wait_for_phase(stopped, Phase.COMPLETE)
    assert rig.submission(stopped) == rig.submission(full)
    assert [a.key for a in stopped.adapters] == [a.key for a in full.adapters]

    reasons = []
    for plan in (full, stopped):
        for cell in plan.cells:
            commit = rig.storage.read(cell.scope, cell.key)
            assert commit is not None
            reasons.append((plan is stopped, cell.shard.set, {b["reason"] for b in commit.body["ballots"]}))
    unasked = [found for found in reasons if "decided" in found[2]]
    assert unasked, "two of three members agree on some question"
    assert all(stops and questions is QuestionSet.TEST for stops, questions, _ in unasked)

    told = json.loads(rig.nonet("status", stopped.run, "--json").stdout)["stopped"]
    assert told["of"] == 3 * sum(shard.questions for shard in stopped.shards_of(QuestionSet.TEST))
    assert 0 < told["ballots"] <= told["of"] // 3
    print(f"\n{told['ballots']} of {told['of']} ballots not needed")
    soft = rig.nonet("vote", stopped.run, "--method", "soft", check=False)
    assert soft.returncode == ExitCode.BLOCKED
    assert "stop_when_decided: false" in soft.stderr

    few = rig.nonet("pseudo", stopped.run, "--min-margin", "0.9", check=False)
    assert few.returncode == ExitCode.BAD_INPUT
    assert "margins are the least that they could have come to" in few.stderr

    gold = tmp_path / "gold.jsonl"
    gold.write_bytes(b"".join((DEMO / "test_gold.jsonl").read_bytes().splitlines(keepends=True)[:10]))
    scores = json.loads(rig.nonet("score", stopped.run, str(gold), "--json").stdout)
    assert scores["submission"]["missing"] == 0
    assert len(scores["members"]) < 3, "who was not asked everything has no score of its own"
    report = rig.storage.home.report(stopped.run)
    rig.wait(report.exists, 60, "the report")
    assert "ballots not needed" in report.read_text("utf-8")
