"""Sharing for real: a trained run is exported, its adapters are loaded by stock peft, imported into another home, and
answer there as they did at home."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from nonet.runs.plan import ADAPTERS, Plan, QuestionSet, plan_from_json
from nonet.stores.home import Home
from nonet.stores.storage import Storage
from nonet.voting.aggregation import collect
from nonet.voting.ballot import Ballots
from scheduler.state import Phase
from tests.integration.compute_rig import BASE, PROMPT, run_in_stack
from tests.rig import Rig
from tests.undisturbed import Undisturbed

GUESTS = """\
name: guests
base: {{model: {base}}}
prompt: {{system: "{system}"}}
adapters:
  one: {{import: {pack}, adapter: all}}
  two: {{import: {folder}/adapters/part}}
inference: {{test: {test}, shard_size: 5}}
"""


def ballots_of(storage: Storage, plan: Plan) -> Ballots:
    return collect(storage, plan.cells, QuestionSet.TEST)


@pytest.mark.timeout(600)
def test_adapters_answer_elsewhere_as_at_home(undisturbed: Undisturbed, rig: Rig, tmp_path: Path) -> None:
    storage = Storage(Home(undisturbed.home))
    plan = plan_from_json(storage.store.read(storage.plans()[0]))
    pack, test = tmp_path / "pack.tar", undisturbed.batch.parent / "test.jsonl"
    at_home = ballots_of(storage, plan)
    rig.nonet("--home", str(undisturbed.home), "export", "--to", str(pack))
    with tarfile.open(pack) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    folder = tmp_path / "unpacked" / plan.run
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=False).returncode == 0

    stock = run_in_stack(
        "cpu", "stock_reference.py", "logprobs", BASE, folder / "adapters" / "part", test, json.dumps(PROMPT)
    )
    assert set(stock) == set(at_home["part"])
    for question, values in stock.items():
        assert at_home["part"][question].logprobs == pytest.approx(values, abs=1e-3), "PeftModel.from_pretrained"

    batch = tmp_path / "guests.yaml"
    text = GUESTS.format(base=BASE, system=PROMPT["system"], pack=pack, folder=folder, test=test)
    batch.write_text(text, encoding="utf-8")
    guests = rig.submit(batch)
    one = guests.adapters[0].key
    rig.storage.set_aside(ADAPTERS, one)  # an import whose files are gone is not trained: the run says what to do
    rig.start_all(workers=1)
    rig.wait(lambda: bool(rig.state(guests).failed), 120, "the adapter that is gone fails")
    (failed,) = rig.state(guests).failed
    assert failed.last is not None
    assert "this adapter was imported (all of small-" in (failed.last.error or "")
    rig.nonet("submit", str(batch))
    rig.wait_for_phase(guests, Phase.COMPLETE)

    here = ballots_of(rig.storage, guests)
    assert (here["one"], here["two"]) == (at_home["all"], at_home["part"]), "to the last digit"
    assert [len(rig.attempts.history(adapter.key)) for adapter in guests.adapters] == [1, 0], "nothing was trained"
    assert "sound" in rig.nonet("verify").stdout
