"""The report's page: what it tells, that nothing in the data can become markup, and how attempts become spans."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cli.exit_codes import ExitCode
from nonet.report.figures import AVERAGED, POINTS, averaged
from nonet.report.timeline import Unit, Work, shares_of, spans_of
from nonet.runs.attempt import Attempt, ErrorClass, Outcome
from nonet.runs.plan import ADAPTERS, Plan, QuestionSet
from nonet.runs.result import write_result
from nonet.voting.aggregation import aggregate, spec_of
from nonet.voting.ballot import AbstentionReason, Ballot
from tests.cli_home import CliHome, write_files

LETTERS = {"both": "A", "gold": "A", "more": "B"}
HOSTILE = "</p><script>document.title = 'hacked'</script><img src=x onerror=alert(1)>]]>&amp;\u202e{{ 7 * 7 }}"


@pytest.fixture
def here(tmp_path: Path) -> CliHome:
    return CliHome(tmp_path, write_files(tmp_path))


def end(here: CliHome, plan: Plan) -> None:
    """What the vote's task writes before the report."""
    result = aggregate(here.storage, plan, spec_of(plan))
    write_result(here.home, plan, result.submission, result.manifest)


def train(here: CliHome, plan: Plan, name: str, *, by_itself: bool = True) -> None:
    """A training of 40 steps that is committed with its losses, by the run itself or by another one."""
    key = next(adapter.key for adapter in plan.adapters if adapter.name == name)
    epoch = here.begin(key, run=plan.run if by_itself else "hand")
    folder = here.storage.staging(key, epoch)
    (folder / "losses.json").write_text(json.dumps([[step, 1 / step, 0.001] for step in range(1, 41)]))
    figures = {"final_loss": 0.5, "seconds": 60.0, "peak_memory_bytes": 2**30, "versions": {"torch": "9.9.9"}}
    here.storage.publish(ADAPTERS, key, epoch, folder=folder, body={"training": figures})
    here.attempts.end(key, epoch, Outcome.COMMITTED)


def report(here: CliHome, plan: Plan) -> str:
    done = here.call("report", plan.run)
    assert done.exit_code == ExitCode.DONE
    path = here.home.report(plan.run)
    assert done.stdout.startswith(f"{path}: ")
    return path.read_text(encoding="utf-8")


class Page(HTMLParser):
    """Elements, attributes and the text outside of figures and styles of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._skipped = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes.extend((name, value or "") for name, value in attrs)
        self._skipped += tag in ("svg", "style")
        self.text += " " if tag in ("td", "th", "div", "small") else ""

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag in ("svg", "style")

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.text += data


def words(page: Page) -> str:
    return " ".join(page.text.split())


@pytest.fixture
def ended(here: CliHome) -> Plan:
    plan = here.submit()
    for name in LETTERS:
        train(here, plan, name)
    here.answer(plan, LETTERS)
    end(here, plan)
    return plan


def test_a_page_tells_everything_of_a_run(here: CliHome, ended: Plan) -> None:
    here.call("score", ended.run, str(here.folder / "gold.jsonl"))
    html = report(here, ended)
    page = Page(html)
    assert page.elements.count("svg") == 4  # accuracy, agreement, loss, timeline
    text = words(page)
    assert ended.run in text
    assert "0.5000 the vote on the test" in text
    assert "official 2 (gold) + extra 3 (model)" in text
    assert "torch 9.9.9 (trained)" in text
    assert "right" in text
    assert "wrong, gold is B" in text
    assert "No member abstained" in text
    assert here.batch.read_text(encoding="utf-8") in page.text
    for name in LETTERS:
        assert f"{name}: 0.5000, 95 %" in html or name == "more"  # the tips of the first figure
    assert "the vote and both: the same letter on 100.0% of 6 questions" in html


def test_without_gold_it_says_how_to_give_it(here: CliHome, ended: Plan) -> None:
    text = words(Page(report(here, ended)))
    assert f"nonet score {ended.run} GOLD adds them" in text
    assert "gold is" not in text


def test_a_run_without_a_vote_has_a_report_of_what_there_is(here: CliHome) -> None:
    plan = here.submit()
    train(here, plan, "gold")
    here.fail(plan.adapters[0].key, ErrorClass.OUT_OF_MEMORY, "the GPU is full", plan.run)
    text = words(Page(report(here, plan)))
    assert "There is no vote yet: ballots are missing" in text
    assert "1 attempt ended without a result" in text
    assert "train both 1 w0@here failed (out_of_memory) the GPU is full" in text
    assert "not trained" in text


def hostile_batch(here: CliHome) -> Plan:
    """A run whose stems, questions, options and batch file hold markup."""
    path = here.folder / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["problem"] += HOSTILE
        for question in row["questions"]:
            question["question"] += HOSTILE
            question["options"] = [f"{option}{HOSTILE}" for option in question["options"]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    text = here.batch.read_text(encoding="utf-8").replace("{epochs: 2,", "{epochs: 2, max_length: 2048,")
    text += f"# {HOSTILE}\n".replace("\u202e", "")
    here.batch.write_text(text, encoding="utf-8")
    return here.submit()


def test_data_never_becomes_markup(here: CliHome) -> None:
    plan = hostile_batch(here)
    train(here, plan, "gold")
    key = plan.adapters[0].key
    log = here.home.log(key, 1)
    here.attempts.begin(key, host=HOSTILE, worker=HOSTILE, run=plan.run, log=log, group=1)
    here.attempts.end(key, 1, Outcome.FAILED, ErrorClass.ENGINE, HOSTILE)
    here.answer(plan, LETTERS)
    end(here, plan)
    html = report(here, plan)
    page = Page(html)
    assert not {"script", "img", "iframe", "object", "embed", "link", "form", "base"} & set(page.elements)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("href", "xlink:href", "src", "action", "data")]
    assert links
    assert all(value.startswith("#") for value in links)
    assert not re.search(r"url\((?!#)|@import", html)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert ("content", policy) in page.attributes
    assert page.text.count(HOSTILE) >= 4  # shown as it is, template and all
    assert words(page).count("49") == 0


def test_figures_are_whole_and_follow_the_theme(here: CliHome, ended: Plan) -> None:
    html = report(here, ended)
    figures = re.findall(r"<svg.*?</svg>", html, re.S)
    for figure in figures:
        root = ElementTree.fromstring(figure)
        assert root.get("aria-label")
        assert not re.search(r"(fill|stroke): #(?!fff)", figure), "a colour that no theme can change"
    used = set(re.findall(r"var\((--[a-z0-9]+)\)", "".join(figures)))
    assert {"--text", "--accent", "--font"} <= used
    style = html.partition("</style>")[0]
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    for name in used - {"--font"}:
        assert f"{name}:" in light
        assert f"{name}:" in dark
    ids = [value for figure in figures for value in re.findall(r' id="([^"]+)"', figure)]
    assert len(ids) == len(set(ids)), "two figures share an id"


def test_abstentions_are_told_by_reason_and_shown_among_the_ballots(here: CliHome) -> None:
    plan = here.submit()
    here.answer(plan, LETTERS, QuestionSet.VALIDATION)
    for cell in plan.cells:
        if cell.shard.set is QuestionSet.TEST and cell.adapter.name != "gold":
            here.cast(plan, cell, LETTERS[cell.adapter.name])
        elif cell.shard.set is QuestionSet.TEST:
            ids = [f"t{row}#{at}" for row, count in enumerate((2, 1, 2, 1)) for at in range(count)]
            mine = ids[:3] if cell.shard.start == 0 else ids[3:]
            ballots = [Ballot(q, None, (), AbstentionReason.CUT_OFF).to_json() for q in mine]
            here.storage.publish(cell.scope, cell.key, 1, body={"ballots": ballots, "shard": cell.shard.name})
    end(here, plan)
    text = words(Page(report(here, plan)))
    assert "gold cut off 6" in text
    assert "no letter cut_off" in text


def test_what_another_run_made_is_told_as_reused(here: CliHome) -> None:
    plan = here.submit()
    for name in LETTERS:
        train(here, plan, name, by_itself=False)
    here.answer(plan, LETTERS)
    for cell in plan.cells:
        here.begin(cell.key)
        here.attempts.end(cell.key, 1, Outcome.COMMITTED)
    end(here, plan)
    text = words(Page(report(here, plan)))
    assert text.count("reused, of hand 3, 3 of them reused") == 3
    assert "No attempt was made for this run" in text


def attempts(*times: tuple[str, float, float | None, Outcome | None], log: str = "l") -> Iterator[tuple[Unit, Attempt]]:
    for name, started, ended, outcome in times:
        unit = Unit(name, name, Work.TRAIN)
        yield unit, Attempt(name, 1, "h", "w0@h", "r", log, len(times), started, outcome, None, None, ended)


def test_attempts_of_one_message_follow_one_another() -> None:
    done = Outcome.COMMITTED
    spans = spans_of(attempts(("b", 10.0, 40.0, done), ("a", 10.0, 25.0, done), ("c", 10.0, None, None)), "r")
    assert [(s.unit.name, s.start, s.stop) for s in spans] == [("a", 10.0, 25.0), ("b", 25.0, 40.0), ("c", 40.0, None)]
    assert [share.seconds for share in shares_of(spans)] == [30.0]
    assert spans_of(attempts(("a", 1.0, 2.0, done)), "another run") == ()


def test_a_share_counts_what_was_done_and_what_was_not() -> None:
    done, lost, drained = Outcome.COMMITTED, Outcome.LOST, Outcome.DRAINED
    first = attempts(("a", 0.0, 60.0, done), log="1")
    second = attempts(("b", 60.0, 90.0, lost), log="2")
    third = attempts(("b", 90.0, 100.0, drained), log="3")
    (share,) = shares_of(spans_of([*first, *second, *third], "r"))
    assert (share.done, share.bad, share.seconds) == ({Work.TRAIN: 1}, 1, 100.0)


def test_curves_are_averaged_and_short() -> None:
    losses = tuple((step, float(step)) for step in range(1, 5001))
    curve = averaged(losses)
    assert len(curve) <= POINTS + POINTS // 10
    assert curve[-1] == (5000, 5000 - (AVERAGED - 1) / 2)
    assert averaged(losses[:1]) == [(1, 1.0)]
