"""The batch file: what is read from a sound one, and every defect of a bad one in one go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.batch import Base, Batch, InferenceSpec, load_batch
from nonet.adapters.recipe import Recipe
from nonet.questions.defect import Defect, DefectsError
from nonet.questions.mix import Mix, Source, Use
from nonet.questions.problem import Problem, Question
from nonet.questions.prompt import PREFIX, SYSTEM
from nonet.questions.rows import write_rows
from nonet.questions.split import normal_stem
from nonet.voting.vote import VoteSpec

SOUND = """\
name: small
base: {model: Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4, revision: null}
sources:
  official: {path: official.jsonl, labels: gold}
  made: {path: made.jsonl, labels: model}
validation: {source: official, fraction: 0.2, seed: 0}
mixes:
  all: {use: [official, {source: made, first: 3}]}
  half: {use: [official, made], sample: 0.5, seed: 1}
training: {rank: 4, learning_rate: 1.0e-3}
inference: {test: test.jsonl, shard_size: 7}
vote: {members: 2, select: validation}
submission: answers.jsonl
"""


def problems(prefix: str, stem: str, count: int, questions: int = 2, gold: str | None = "A") -> list[Problem]:
    return [
        Problem(
            f"{prefix}{at}",
            f"{stem}{at}",
            tuple(Question(f"{prefix}{at}", index, f"问{index}", ("甲", "乙"), gold) for index in range(questions)),
        )
        for at in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "official.jsonl", problems("o", "题", 10))
    write_rows(tmp_path / "made.jsonl", problems("m", "造", 6))
    write_rows(tmp_path / "test.jsonl", problems("t", "试", 4, gold=None))
    return tmp_path


Load = Callable[..., Batch]


@pytest.fixture
def load(folder: Path) -> Load:
    """Load SOUND with some pieces of its text replaced."""

    def load_changed(*changes: tuple[str, str]) -> Batch:
        text = SOUND
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = folder / "batch.yaml"
        path.write_text(text, encoding="utf-8")
        return load_batch(path)

    return load_changed


def defects_of(load: Load, *changes: tuple[str, str]) -> tuple[Defect, ...]:
    with pytest.raises(DefectsError) as caught:
        load(*changes)
    assert all(defect.remedy for defect in caught.value.defects)
    return caught.value.defects


def test_a_sound_batch_holds_all_that_it_names(load: Load, folder: Path) -> None:
    batch = load()
    assert batch.name == "small"
    assert batch.path == folder / "batch.yaml"
    recipe, inference = Recipe(rank=4, learning_rate=1e-3), InferenceSpec("auto", 7, "letter", 1)
    assert batch.bases == (Base("", "Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4", None, False, recipe, inference),)
    assert (batch.prompt.system, batch.prompt.prefix, batch.prompt.answer) == (SYSTEM, PREFIX, "letter")
    assert batch.sources["made"] == Source("made", folder / "made.jsonl", "model")
    assert batch.problems["official"] == tuple(problems("o", "题", 10))
    assert batch.test == tuple(problems("t", "试", 4, gold=None))
    assert batch.mixes["half"].mix == Mix("half", (Use("official"), Use("made")), 0.5, 1)
    assert batch.vote == VoteSpec("majority", 2, "validation")
    assert batch.submission == "answers.jsonl"
    assert batch.text == SOUND


def test_validation_stems_are_in_no_mix(load: Load, folder: Path) -> None:
    held = load().validation
    assert len(held) == 2
    # The same stems under other ids in the other source must stay out, too.
    copies = [Problem(f"copy{at}", f" {problem.stem}\n", problem.questions) for at, problem in enumerate(held)]
    write_rows(folder / "made.jsonl", [*copies, *problems("m", "造", 6)])
    batch = load()
    stems = {normal_stem(problem.stem) for problem in batch.validation}
    for drawn in batch.mixes.values():
        assert not stems & {normal_stem(example.stem) for example in drawn.examples}
    assert len(batch.mixes["all"].examples) == (8 + 1) * 2


def test_optional_sections_have_defaults(load: Load) -> None:
    batch = load(
        ("validation: {source: official, fraction: 0.2, seed: 0}\n", ""),
        ("training: {rank: 4, learning_rate: 1.0e-3}\n", ""),
        ("vote: {members: 2, select: validation}\n", ""),
        ("submission: answers.jsonl\n", ""),
    )
    assert batch.validation == ()
    assert batch.bases[0].recipe == Recipe()
    assert batch.vote == VoteSpec("majority", None, "all")
    assert batch.submission == "submission.jsonl"
    assert len(batch.mixes["all"].examples) == 26


def test_free_text_answers(load: Load) -> None:
    batch = load(("shard_size: 7", "shard_size: 7, answer: text, engine: vllm"))
    assert batch.bases[0].inference == InferenceSpec("vllm", 7, "text", 1024)
    assert batch.prompt.answer == "text"
    batch = load(("shard_size: 7", "answer: text, max_tokens: 300"), ("name: small", "name: b\nprompt: {system: S}"))
    assert batch.bases[0].inference.max_tokens == 300
    assert batch.prompt.system == "S"


def test_a_local_base_is_an_absolute_folder(load: Load, folder: Path) -> None:
    (folder / "tiny").mkdir()
    (folder / "tiny" / "config.json").write_text("{}")
    hub = "Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4"
    for written in ("tiny", "./tiny", f"../{folder.name}/tiny", str(folder / "tiny")):
        (base,) = load((hub, written)).bases
        assert (base.model, base.revision, base.local) == (str(folder / "tiny"), None, True)


def test_a_partial_vote_and_a_named_one(load: Load) -> None:
    partial = load(("select: validation", "select: validation, allow_partial: true, quorum: 2"))
    assert partial.vote == VoteSpec("majority", 2, "validation", True, 2)
    assert load(("members: 2, select: validation", "select: [half]")).vote.select == ("half",)


CASES: list[tuple[str, list[tuple[str, str]], str, str, str]] = [
    ("unknown key", [("labels: gold", "label: gold, labels: gold")], "line 4, sources.official.label", "'gold'", "unk"),
    ("unknown section", [("name: small", "name: small\nmixs: {}")], "line 2, mixs", "an empty mapping", "unknown key"),
    ("missing key", [("name: small\n", "")], "line 1, name", "", "the key is missing"),
    ("missing labels", [(", labels: gold", "")], "line 4, sources.official.labels", "", "the key is missing"),
    ("text for number", [("rank: 4", "rank: four")], "line 10, training.rank", "'four'", "must be a whole number"),
    ("exponent", [("1.0e-3", "1e-3")], "line 10, training.learning_rate", "'1e-3'", "must be a number"),
    ("nan", [("1.0e-3", ".nan")], "line 10, training.learning_rate", ".nan", "must be a finite number"),
    ("inf", [("1.0e-3", ".inf")], "line 10, training.learning_rate", ".inf", "must be"),
    ("negative", [("1.0e-3", "-0.1")], "line 10, training.learning_rate", "-0.1", "must be above 0"),
    ("zero rank", [("rank: 4", "rank: 0")], "line 10, training.rank", "0", "must be at least 1"),
    ("trainer", [("rank: 4", "rank: 4, trainer: both")], "line 10, training.trainer", "'both'", "must be 'peft' or 'j"),
    ("grouped", [("rank: 4", "rank: 4, grouped: 1")], "line 10, training.grouped", "1", "must be true or false"),
    ("bool rank", [("rank: 4", "rank: yes")], "line 10, training.rank", "yes", "must be a whole number"),
    ("octal", [("rank: 4", "rank: 010")], "line 10, training.rank", "010", "octal"),
    ("base 60", [("seed: 1}", "seed: 1:30}")], "line 9, mixes.half.seed", "1:30", "base-60"),
    ("fraction 1", [("fraction: 0.2", "fraction: 1.0")], "line 6, validation.fraction", "1.0", "must be below 1"),
    ("sample 0", [("sample: 0.5", "sample: 0")], "line 9, mixes.half.sample", "0", "must be above 0"),
    ("sample 2", [("sample: 0.5", "sample: 2")], "line 9, mixes.half.sample", "2", "must be at most 1"),
    ("labels", [("labels: model", "labels: robot")], "line 5, sources.made.labels", "'robot'", "must be 'gold', 'm"),
    ("number for text", [("name: small", "name: 2024")], "line 1, name", "2024", "must be text"),
    ("date for text", [("name: small", "name: 2024-05-01")], "line 1, name", "2024-05-01", "date"),
    ("tag", [("name: small", "name: !!python/name:os.system x")], "line 1, name", "", "a tag is not allowed"),
    ("name with a path", [("name: small", "name: ../small")], "line 1, name", "'../small'", "not a plain name"),
    ("mix name", [("  half:", "  a/b:")], "line 9, mixes.a/b", "'a/b'", "not a plain name"),
    ("full-width name", [("  half:", "  ｈalf:")], "line 9, mixes.ｈalf", "'ｈalf'", "not a plain name"),
    ("two mixes", [("  half:", "  all:")], "line 9, mixes.all", "'all'", "two mixes have one name: line 8"),
    (
        "two sources",
        [("  made:", "  official:")],
        "line 5, sources.official",
        "'official'",
        "two sources have one name",
    ),
    ("repeated key", [("rank: 4", "rank: 4, rank: 8")], "line 10, training.rank", "'rank'", "there twice"),
    ("alike mixes", [("  half:", "  ALL:")], "line 9, mixes.ALL", "'ALL'", "differs from 'all' in case alone"),
    ("number as name", [("  half:", "  1:")], "line 9, mixes", "'1'", "a key must be text"),
    ("empty use", [("[official, made]", "[]")], "line 9, mixes.half.use", "an empty list", "the mix is empty"),
    ("empty mixes", [("sample: 0.5", "sampl: 0.5")], "line 9, mixes.half.sampl", "0.5", "unknown key"),
    ("use text", [("[official, made]", "official")], "line 9, mixes.half.use", "'official'", "must be a list"),
    ("use number", [("[official, made]", "[official, 5]")], "line 9, mixes.half.use[1]", "5", "must be a source name"),
    ("unknown source", [("[official, made]", "[oficial]")], "line 9, mixes.half.use[0]", "'oficial'", "no source has"),
    ("unknown source 2", [("source: made", "source: x")], "line 8, mixes.all.use[1]", "'x'", "no source has"),
    ("source twice", [("[official, made]", "[made, made]")], "line 9, mixes.half.use[1]", "'made'", "twice"),
    ("first", [("first: 3", "first: 7")], "line 8, mixes.all.use[1].first", "7", "the source has 6 rows"),
    ("first 0", [("first: 3", "first: 0")], "line 8, mixes.all.use[1].first", "0", "must be at least 1"),
    ("frist", [("first: 3", "frist: 3")], "line 8, mixes.all.use[1].frist", "3", "unknown key"),
    ("missing source", [("made.jsonl", "none.jsonl")], "line 5, sources.made.path", "'none.jsonl'", "file is missing"),
    ("folder", [("made.jsonl", ".")], "line 5, sources.made.path", "'.'", "cannot be read: Is a directory"),
    ("NUL", [("made.jsonl", '"a\\0"')], "line 5, sources.made.path", "'a\\x00'", "cannot be read"),
    ("missing test", [("test.jsonl", "none.jsonl")], "line 11, inference.test", "'none.jsonl'", "file is missing"),
    ("validation", [("source: official,", "source: gold,")], "line 6, validation.source", "'gold'", "no source has"),
    ("engine", [("shard_size: 7", "engine: vlm")], "line 11, inference.engine", "'vlm'", "must be 'auto', 'trans"),
    ("shards", [("shard_size: 7", "shard_size: 0")], "line 11, inference.shard_size", "0", "must be at least 1"),
    (
        "shard text",
        [("shard_size: 7", "shard_size: many")],
        "line 11, inference.shard_size",
        "'many'",
        "problems, or auto",
    ),
    ("shard part", [("shard_size: 7", "shard_size: 7.5")], "line 11, inference.shard_size", "7.5", "problems, or auto"),
    ("tokens", [("shard_size: 7", "max_tokens: 9")], "line 11, inference.max_tokens", "9", "a letter is one token"),
    ("members", [("members: 2", "members: 9")], "line 12, vote.members", "9", "only 2 can vote"),
    ("fewer", [("2, select: validation", "1, select: all")], "line 12, vote.members", "1", "gives 2 members, not 1"),
    (
        "select",
        [("select: validation", "select: best")],
        "line 12, vote.select",
        "'best'",
        "must be validation, greedy, all",
    ),
    ("voters", [("select: validation", "select: [all, haf]")], "line 12, vote.select[1]", "'haf'", "no mix has"),
    ("voter twice", [("select: validation", "select: [all, all]")], "line 12, vote.select[1]", "'all'", "named twice"),
    ("unvalidated", [("validation: {s", "#")], "line 12, vote.select", "validation", "no validation to select by"),
    ("quorum alone", [("members: 2", "quorum: 2")], "line 12, vote.quorum", "2", "means nothing in a full vote"),
    ("partial", [("members: 2", "allow_partial: true")], "line 12, vote.allow_partial", "true", "without quorum"),
    ("quorum", [("members: 2", "allow_partial: true, quorum: 3")], "line 12, vote.quorum", "3", "more than the memb"),
    ("submission", [("answers.jsonl", "out/a.jsonl")], "line 13, submission", "'out/a.jsonl'", "not a plain name"),
    (
        "base",
        [("Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4", "./none")],
        "line 2, base.model",
        "'./none'",
        "no model is there",
    ),
    ("hub name", [("Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4", "a/b/c")], "line 2, base.model", "'a/b/c'", "neither a Hub"),
    ("null section", [("sources:\n", "sources:\nx:\n")], "line 3, sources", "", "must be a mapping, but nothing"),
    ("merge key", [("  half: {", "  half: {<<: {}, ")], "line 9, mixes.half", "'<<'", "a key must be text"),
    (
        "same mixes",
        [(", sample: 0.5", ""), (", {source: made, first: 3}", ", made")],
        "line 9, mixes.half",
        "",
        "twice",
    ),
]


@pytest.mark.parametrize(
    ("changes", "place", "value", "message"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_a_defect_is_told_with_line_key_value_and_remedy(
    load: Load, folder: Path, changes: list[tuple[str, str]], place: str, value: str, message: str
) -> None:
    defects = defects_of(load, *changes)
    found = [defect for defect in defects if defect.place == place and message in defect.message]
    assert found, "\n".join(map(str, defects))
    assert found[0].file == str(folder / "batch.yaml")
    if value:
        assert found[0].value == value


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ([("1.0e-3", "1e-3")], "Write 1.0e-3: YAML 1.1 takes 1e-3 as text"),
        ([("1.0e-3", "1.0e4")], "Write 1.0e+4: YAML 1.1 takes 1.0e4 as text"),
        ([("1.0e-3", "1e999")], "Write a finite number"),
        ([("rank: 4", "rank: '4'")], "Write 4 without quotes."),
        ([("rank: 4", "rank: 4.0")], "Write 4."),
        ([("name: small", "name: 2024")], "Write it in quotes."),
        ([("first: 3", "frist: 3")], "Did you mean 'first'? Known here: first, min_margin, source."),
        ([("rank: 4", "ranks: 4")], "Did you mean 'rank'?"),
        ([("labels: model", "labels: modl")], "Did you mean 'model'?"),
        ([("[official, made]", "[oficial]")], "Did you mean 'official'? Sources here: official, made."),
        ([("select: validation", "select: [all, haf]")], "Did you mean 'half'? Mixes here: all, half."),
        ([("inference:", "inferences:")], "Did you mean 'inference'?"),
    ],
)
def test_the_remedy_says_what_to_write(load: Load, changes: list[tuple[str, str]], remedy: str) -> None:
    assert any(remedy in defect.remedy for defect in defects_of(load, *changes))


def test_an_unread_value_is_told_once(load: Load) -> None:
    assert len(defects_of(load, ("rank: 4", "rank: 010"))) == 1


def test_all_defects_of_the_file_and_of_all_rows_come_in_one_go(load: Load, folder: Path) -> None:
    write_rows(folder / "made.jsonl", problems("m", "造", 2, gold=None))
    with (folder / "test.jsonl").open("ab") as file:
        file.write(b"{\n")
    defects = defects_of(
        load,
        ("name: small", "name: small\nextra: 1"),
        ("official.jsonl", "none.jsonl"),
        ("rank: 4", "rank: four"),
        ("members: 2", "members: 5"),
        ("sample: 0.5", "sampel: 0.5"),
        ("[official, made]", "[official, mad]"),
    )
    told = [(Path(defect.file).name, defect.place) for defect in defects]
    assert told == [
        ("batch.yaml", "line 2, extra"),
        ("batch.yaml", "line 5, sources.official.path"),
        ("batch.yaml", "line 10, mixes.half.sampel"),
        ("batch.yaml", "line 10, mixes.half.use[1]"),
        ("batch.yaml", "line 11, training.rank"),
        ("batch.yaml", "line 13, vote.members"),
        *[("made.jsonl", f"line {line}, questions[{at}].answer") for line in (1, 2) for at in (0, 1)],
        ("test.jsonl", "line 5"),
    ]


def test_the_defects_of_one_file_are_told_once_though_two_sources_name_it(load: Load, folder: Path) -> None:
    with (folder / "official.jsonl").open("ab") as file:
        file.write(b"[]\n")
    defects = defects_of(load, ("made.jsonl", "official.jsonl"))
    assert [defect.place for defect in defects] == ["line 11"]


def test_a_mix_that_validation_empties_is_refused(load: Load, folder: Path) -> None:
    held = load().validation
    write_rows(folder / "made.jsonl", [Problem("x", held[0].stem, held[0].questions)])
    defects = defects_of(load, ("[official, {source: made, first: 3}]", "[made]"))
    assert [(defect.place, defect.message) for defect in defects] == [("line 8, mixes.all.use", "the mix is empty")]


def leak(folder: Path) -> None:
    """Put two stems of the test, written differently, under other ids into the source `made`."""
    leaked = [Problem(f"l{at}", f"试 {at}\n", problems("l", "试", at + 1)[at].questions) for at in (1, 3)]
    write_rows(folder / "made.jsonl", [*leaked, *problems("m", "造", 6)])


def test_test_stems_in_a_mix_are_refused_with_the_row_ids(load: Load, folder: Path) -> None:
    leak(folder)
    defects = defects_of(load, ("first: 3", "first: 2"), (", sample: 0.5, seed: 1", ", allow_leak: true"))
    assert len(defects) == 1
    assert defects[0].place == "line 8, mixes.all.use"
    assert defects[0].value == "made:l1 = t1, made:l3 = t3"
    assert "the mix holds 2 stems of the test" in defects[0].message
    assert "allow_leak: true" in defects[0].remedy


def test_an_allowed_leak_is_recorded(load: Load, folder: Path) -> None:
    leak(folder)
    batch = load(("first: 3}]", "first: 1}], allow_leak: true"), (", sample: 0.5, seed: 1", ", allow_leak: true"))
    assert batch.mixes["all"].leaked == ("试1",)
    assert batch.mixes["half"].leaked == ("试1", "试3")
    assert batch.mixes["half"].mix.allow_leak


def test_a_source_with_a_single_stem_cannot_be_split(load: Load, folder: Path) -> None:
    write_rows(
        folder / "official.jsonl", [Problem(f"o{at}", "同", problems("o", "", 3)[at].questions) for at in range(3)]
    )
    assert "1 different stems cannot be split" in defects_of(load)[0].message


def test_aliases_are_read(load: Load) -> None:
    batch = load(("[official, {source: made, first: 3}]", "&some [official, made]"), ("[official, made],", "*some,"))
    assert batch.mixes["half"].mix.uses == batch.mixes["all"].mix.uses


def test_a_bom_and_crlf_in_the_batch_file_are_harmless(load: Load, folder: Path) -> None:
    load()
    path = folder / "batch.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_batch(path).name == "small"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, len(SOUND)),
    st.integers(0, 30),
    st.text(alphabet="abc019.:-[]{},&*!|>'\"#%\n \t：", max_size=5),
)
def test_damage_is_told_as_defects_or_harmless(folder: Path, start: int, length: int, instead: str) -> None:
    path = folder / "batch.yaml"
    path.write_text(SOUND[:start] + instead + SOUND[start + length :], encoding="utf-8")
    told: tuple[Defect, ...] = ()
    try:
        load_batch(path)
    except DefectsError as error:
        told = error.defects or (Defect("", "", "", "", ""),)
    assert all(defect.place and defect.message and defect.remedy for defect in told)
