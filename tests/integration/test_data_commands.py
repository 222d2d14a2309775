"""`nonet data` on files of every shape that it reads, through the real builders of `datasets`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.errors import explain
from cli.exit_codes import ExitCode
from cli.main import nonet_command
from nonet.questions.problem import Problem
from nonet.questions.rows import read_problems

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"
TWO = {"question": "Who wins?", "options": ["Ann", "Bo"]}


def nonet(*arguments: object) -> Result:
    result = CliRunner().invoke(nonet_command, ["data", *map(str, arguments)], standalone_mode=False)
    if result.exception is not None:
        explained = explain(result.exception)
        if explained is None:
            raise result.exception
        message, result.exit_code = explained
        result.stderr_bytes = (result.stderr_bytes or b"") + message.encode()
    return result


def json_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def convert(source: Path, *options: str, labelled: bool = True) -> tuple[Problem, ...]:
    target = source.with_name("rows.jsonl")
    done = nonet("convert", source, "--to", target, "--force", *options)
    assert done.exit_code == 0, done.stderr
    problems, defects = read_problems(target, labelled=labelled)
    assert not defects
    return problems


def told(problem: Problem) -> tuple[str, list[tuple[str, tuple[str, ...], str | None]]]:
    return problem.stem, [(q.text, q.options, q.gold) for q in problem.questions]


def test_nonets_own_rows_come_out_as_they_were(tmp_path: Path) -> None:
    source = tmp_path / "official.jsonl"
    source.write_bytes((DEMO / "official.jsonl").read_bytes())
    assert convert(source) == read_problems(source, labelled=True)[0]


ANN = ("A race.", [("Who wins?", ("Ann", "Bo"), "B")])
SHAPES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "competition": ("x.jsonl", [{"id": "1", "problem": "A race.", "questions": [TWO | {"answer": "B"}]}]),
    "ar-lsat": ("x.json", [{"id": "1", "passage": "A race.", "questions": [{"id": "1_1", **TWO, "answer": "B"}]}]),
    "bbh": ("x.jsonl", [{"input": "A race. Who wins?\nOptions:\n(A) Ann\n(B) Bo", "target": "(B)"}]),
    "logiqa": (
        "x.jsonl",
        [{"context": "A race.", "query": "Who wins?", "options": ["Ann", "Bo"], "correct_option": 1}],
    ),
    "logiqa2": ("x.jsonl", [{"id": 7, "text": "A race.", **TWO, "answer": 1, "type": {"Necessary": True}}]),
    "agieval": (
        "x.jsonl",
        [
            {
                "passage": "A race.",
                "question": "Who wins?",
                "options": ["(A)Ann", "(B)Bo"],
                "label": "B",
                "answer": None,
            },
            {"passage": None, "question": "A walk. Who?", "options": ["(A)x", "(B)y"], "label": "A", "answer": None},
        ],
    ),
    "reclor": (
        "x.json",
        [{"context": "A race.", "question": "Who wins?", "answers": ["Ann", "Bo"], "label": 1, "id_string": "t_1"}],
    ),
    "mmlu": (
        "x.jsonl",
        [
            {"question": "A race. Who wins?", "subject": "s", "choices": ["Ann", "Bo"], "answer": 1},
            {"question": "A walk. Who?", "subject": "s", "choices": ["x", "y"], "answer": 0},
        ],
    ),
    "mmlu-pro": (
        "x.jsonl",
        [
            {
                "question_id": 3,
                "question": "A race. Who wins?",
                "options": ["Ann", "Bo"],
                "answer": "B",
                "answer_index": 1,
            }
        ],
    ),
    "plain": ("x.jsonl", [{"question": "A race. Who wins?", "options": ["Ann", "Bo"], "answer": "Bo"}]),
    "abench": (
        "x.jsonl",
        [{"mid": 1, "standard_answer": "B", "standard_question": "A race. Who wins?\nA、Ann\nB、Bo", "type": "MCQ"}],
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_known_by_its_rows(name: str, tmp_path: Path) -> None:
    file, rows = SHAPES[name]
    source = tmp_path / file
    if source.suffix == ".json":
        source.write_text(json.dumps(rows))
    else:
        json_lines(source, *rows)
    found = convert(source)
    assert told(found[0]) == ANN
    assert found == convert(source, "--format", name)


def test_big_bench_hard_as_it_is_published(tmp_path: Path) -> None:
    stem = "They swap. Then they swap again."
    examples = [
        {"input": f"{stem} At the end, {who} has\nOptions:\n(A) ball\n(B) hat", "target": t}
        for who, t in (("Ann", "(A)"), ("Bo", "(B)"))
    ]
    source = tmp_path / "swaps.json"
    source.write_text(json.dumps({"canary": "…", "examples": examples}))
    (problem,) = convert(source)
    assert told(problem) == (
        stem,
        [("At the end, Ann has", ("ball", "hat"), "A"), ("At the end, Bo has", ("ball", "hat"), "B")],
    )
    assert problem.id == hashlib.sha256(stem.encode()).hexdigest()[:12]  # the same in every file with this stem


def test_answers_that_are_their_own_options(tmp_path: Path) -> None:
    source = json_lines(
        tmp_path / "x.jsonl", {"input": "not True is", "target": "False"}, {"input": "True is", "target": "True"}
    )
    done = nonet("convert", source, "--to", tmp_path / "rows.jsonl")
    assert "the options True and False are inferred" in done.stderr
    problems, _ = read_problems(tmp_path / "rows.jsonl", labelled=True)
    assert [(q.options, q.gold) for p in problems for q in p.questions] == [(("True", "False"), g) for g in "BA"]


def test_logiqa_as_text(tmp_path: Path) -> None:
    source = tmp_path / "Train.txt"
    source.write_text("\nb\nA race.\nWho wins?\nA.Ann\nB.Bo\nC.Cy\nD.Di\n\nc\nA walk.\n", encoding="utf-8")
    (problem,) = convert(source, "--left-out", str(tmp_path / "left.jsonl"))
    assert told(problem) == ("A race.", [("Who wins?", ("Ann", "Bo", "Cy", "Di"), "B")])
    (left,) = map(json.loads, (tmp_path / "left.jsonl").read_text().splitlines())
    assert (left["place"], left["found"]) == ("line 10", "2 lines")


@pytest.mark.parametrize("header", ["", "question,A,B,C,D,answer\n", ",Question,A,B,C,D,Answer\n"])
def test_csv_like_mmlu(header: str, tmp_path: Path) -> None:
    first = "0," if header.startswith(",") else ""
    source = tmp_path / "x.csv"
    source.write_text(f'{header}{first}"A race, said ""Cy"". Who wins?",None,NA,01,2020-01-01,C\n', encoding="utf-8")
    (problem,) = convert(source)
    assert told(problem) == ('A race, said "Cy".', [("Who wins?", ("None", "NA", "01", "2020-01-01"), "C")])


def test_parquet_with_class_labels(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {
            "question": datasets.Value("string"),
            "choices": datasets.List(datasets.Value("string")),
            "answer": datasets.ClassLabel(names=["A", "B"]),
        }
    )
    rows = {"question": ["A race. Who wins?"], "choices": [["Ann", "Bo"]], "answer": [1]}
    source = tmp_path / "x.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(source)
    assert told(convert(source)[0]) == ANN


def test_any_file_by_naming_its_columns(tmp_path: Path) -> None:
    rows = [{"k": f"n{at}", "ctx": "A race.", "q": f"{at}?", "c": {"t": ["Ann", "Bo"]}, "key": at} for at in (1, 2)]
    named = ("--columns", "id=k,stem=ctx,question=q", "--columns", "options=c.t,answer=key")
    source = json_lines(tmp_path / "x.jsonl", *rows)
    (problem,) = convert(source, *named)
    assert problem.id == "n1"
    assert [q.gold for q in problem.questions] == ["A", "B"]
    source = json_lines(tmp_path / "x.jsonl", rows[0])
    refused = nonet("convert", source, "--to", tmp_path / "new.jsonl", *named)
    assert refused.exit_code == 3
    assert "1 is B as index0 and A as index1" in refused.stderr
    assert "--answers letter|index0|index1|text" in refused.stderr
    assert not (tmp_path / "new.jsonl").exists()
    assert convert(source, *named, "--answers", "index1")[0].questions[0].gold == "A"


def test_what_is_of_no_known_shape_is_refused_with_what_was_seen(tmp_path: Path) -> None:
    source = json_lines(tmp_path / "x.jsonl", {"prompt": "Who?", "picks": ["a", "b"], "right": 0})
    refused = nonet("convert", source, "--to", tmp_path / "new.jsonl")
    assert refused.exit_code == 3
    assert "prompt, picks, right" in refused.stderr
    assert "--columns question=" in refused.stderr


def test_a_shape_that_would_lose_the_stem_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text("passage,question,A,B,C,D,answer\nA race.,Who wins?,Ann,Bo,,,B\n")
    assert nonet("convert", source, "--to", tmp_path / "new.jsonl").exit_code == 3
    assert told(convert(source, "--columns", "stem=passage,question=question,options=A+B+C+D,answer=answer")[0]) == ANN


def test_every_row_is_in_the_rows_or_left_out_with_a_reason(tmp_path: Path) -> None:
    def row(text: str, answer: object, options: tuple[object, ...] = ("x", "y")) -> dict[str, object]:
        return {"question": text, "options": options, "answer": answer}

    source = json_lines(
        tmp_path / "x.jsonl",
        row("A. One?", "A"),
        row("B. Two?", "A B"),
        row("C. Three?", ""),
        row("D. Four?", "B", ("x", "")),
        row("A. One?", "B"),
        row("E. Five?", "K", tuple("abcdefghijk")),
        row("F. Six?", "Z"),
        row("G. Seven?", "A", ()),
    )
    source.write_text(
        source.read_text() + "{broken\n[1]\n" + '{"question": "\\ud800", "options": ["x", "y"], "answer": "A"}\n',
        encoding="utf-8",
    )
    left_out = tmp_path / "left.jsonl"
    asked = ("convert", source, "--to", tmp_path / "rows.jsonl", "--answers", "letter", "--left-out", left_out)
    left_out.write_text("somebody's")
    refused = nonet(*asked)
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert f"{left_out} exists" in refused.stderr
    assert [path.name for path in tmp_path.glob("*.jsonl") if path != source] == ["left.jsonl"]
    left_out.unlink()
    done = nonet(*asked)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.endswith("1 questions in 1 problems\n")
    left = {
        entry["place"]: f"{entry['reason']} | {entry.get('found', '')}"
        for entry in map(json.loads, left_out.read_text("utf-8").splitlines())
    }
    assert left == {
        "line 2": "several right letters | 'A B'",
        "line 3": "no answer | ",
        "line 4": "options[1]: the text is empty | ''",
        "line 5": "the question stands above already | line 1, with the answer A",
        "line 6": "more than 10 options | 11",
        "line 7": "the letter is outside the options | 'Z'",
        "line 8": "no options | ",
        "line 9": "not JSON | Expecting property name enclosed in double quotes",
        "line 10": "not a JSON object | [1]",
        "line 11": "half a surrogate pair, or a number that JSON does not have | "
        r"{'question': '\ud800', 'options': ['x', 'y'], 'answer': 'A'}",
    }
    for reason in ("several right letters: line 2 'A B'", "left out 10; all of them are in"):
        assert reason in done.stderr


def test_csv_records_with_other_fields_are_left_out_by_line(tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text('question,A,B,C,D,answer\n"Two\nlines?",a,b,c,d,B\nshort,a\n', encoding="utf-8-sig")
    done = nonet("convert", source, "--to", tmp_path / "rows.jsonl")
    assert "the header has 6 fields: line 4 2 fields" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.jsonl", b"", "the file holds no rows"),
        ("x.csv", "question,答案\n".encode("gb18030"), "not UTF-8"),
        ("x.xlsx", b"PK", "not a kind of file that is read"),
        ("x.parquet", b"PAR0", "cannot be read as parquet"),
        ("x.json", b"[1, 2]", "the file holds no rows"),
        ("x.csv", b"a,a\n1,2\n", "the columns have no names of their own"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    refused = nonet("convert", tmp_path / name, "--to", tmp_path / "new.jsonl")
    assert refused.exit_code == 3
    assert said in refused.stderr


def test_what_is_there_is_overwritten_only_when_asked(tmp_path: Path) -> None:
    source = json_lines(tmp_path / "x.jsonl", *SHAPES["plain"][1])
    target = tmp_path / "rows.jsonl"
    target.write_text("mine")
    refused = nonet("convert", source, "--to", target)
    assert refused.exit_code == 3
    assert "--force" in refused.stderr
    assert target.read_text() == "mine"
    assert nonet("convert", source, "--to", source).exit_code == 2
    assert nonet("convert", source, "--to", target, "--force").exit_code == 0
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["rows.jsonl", "x.jsonl"]  # nothing half-written


def test_a_test_without_answers_stays_one(tmp_path: Path) -> None:
    source = json_lines(tmp_path / "x.jsonl", {"id": "t", "problem": "A race.", "questions": [TWO]})
    (problem,) = convert(source, labelled=False)
    assert problem.questions[0].gold is None


def test_a_part_is_set_aside_by_stem(tmp_path: Path) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    done = nonet("split", DEMO / "official.jsonl", "--train", train, "--test", test)
    assert done.exit_code == 0, done.stderr
    kept, aside = (read_problems(file, labelled=True)[0] for file in (train, test))
    assert len(aside) == 22
    assert sorted(p.id for p in kept + aside) == sorted(
        p.id for p in read_problems(DEMO / "official.jsonl", labelled=True)[0]
    )
    assert not {p.stem for p in kept} & {p.stem for p in aside}
    again = nonet("split", DEMO / "official.jsonl", "--train", train, "--test", test)
    assert again.exit_code == 3
    assert "--force" in again.stderr


def test_check_shows_what_files_hold_and_what_they_share() -> None:
    done = nonet(
        "check", DEMO / "official.jsonl", DEMO / "prelim.jsonl", DEMO / "prelim_hand.jsonl", DEMO / "test.jsonl"
    )
    assert done.exit_code == 0, done.stderr
    text = done.stdout
    for said in ("official.jsonl: every question has an answer", "test.jsonl: no answers", "share 90 stems", "longest"):
        assert said in text
    base = DEMO.parents[1] / "models" / "demo-base"
    whole = json.loads(nonet("check", DEMO / "official.jsonl", "--base", base, "--json").stdout)
    (found,) = whole["files"]
    assert (found["problems"], found["questions"], whole["unit"]) == (110, 285, "tokens")
    assert sum(found["gold"].values()) == 285
    assert found["lengths"]["50"] <= found["lengths"]["90"] <= found["lengths"]["100"]


def test_check_names_every_defect_by_file_line_and_key(tmp_path: Path) -> None:
    source = json_lines(
        tmp_path / "x.jsonl",
        {"id": "a", "problem": "A race.", "questions": [TWO | {"answer": "B"}, TWO]},
        {"id": "a", "problem": "", "questions": [TWO | {"answer": "E"}]},
    )
    done = nonet("check", source)
    assert done.exit_code == 3
    for place in ("line 1, questions[1].answer", "line 2, id", "line 2, problem", "line 2, questions[0].answer"):
        assert f"{source}: {place}: " in done.stderr
    assert nonet("check", source, "--test").exit_code == 3
