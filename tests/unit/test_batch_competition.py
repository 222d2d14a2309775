"""The competition's batch file: beside made-up rows of the real numbers, its mixes have the known sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.batch import load_batch
from nonet.adapters.recipe import Recipe
from nonet.questions.problem import Problem, Question
from nonet.questions.rows import write_rows

ROOT = Path(__file__).resolve().parents[2]


def filler(prefix: str, rows: int, questions: int) -> list[Problem]:
    """`rows` problems with `questions` questions in all."""
    base, more = divmod(questions, rows)
    return [
        Problem(
            f"{prefix}{at}",
            f"{prefix}题{at}",
            tuple(
                Question(f"{prefix}{at}", index, "?", ("甲", "乙"), "AB"[len(prefix) % 2])
                for index in range(base + (at < more))
            ),
        )
        for at in range(rows)
    ]


@pytest.fixture
def competition(tmp_path: Path) -> Path:
    """The competition's batch file beside made-up rows of the real numbers."""
    data = tmp_path / "data" / "competition-2024"
    data.mkdir(parents=True)
    write_rows(data / "round1_train_data.jsonl", filler("official", 500, 1421))
    prelim = filler("prelim", 500, 1328)
    for at, name in enumerate(["model_1", "model_2", "model_3", "hand_1", "hand_2", "hand_3"]):
        answers = {question.id: "A" for problem in prelim for question in problem.questions}
        answers[f"prelim{at}#0"] = "B"
        write_rows(data / f"prelim_{name}.jsonl", prelim, answers)
    write_rows(data / "gpt4.jsonl", [*filler("gpt", 100, 415), *filler("gptmore", 20, 60)])
    write_rows(data / "gpt4_5000_questions.jsonl", filler("gptlong", 1200, 5000))
    write_rows(data / "round2_test_data.jsonl", filler("test", 500, 1365), {})
    path = tmp_path / "config" / "batches" / "competition-2024.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes((ROOT / "config" / "batches" / "competition-2024.yaml").read_bytes())
    return path


def test_the_competitions_batch_loads(competition: Path) -> None:
    batch = load_batch(competition)
    assert (batch.vote.members, batch.vote.select) == (9, "validation")
    assert batch.bases[0].model == "Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4"
    assert batch.bases[0].recipe == Recipe()
    assert len(batch.mixes) == 11
    held = sum(len(problem.questions) for problem in batch.validation)
    assert len(batch.validation) == 50
    assert len(batch.mixes["all-hand-1"].examples) == 3164 - held


def test_the_competitions_mixes_have_the_known_sizes_without_validation(competition: Path) -> None:
    text = competition.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("validation:")]
    names = [line.split(":")[0].strip() for line in lines if "{use: [" in line and "#" not in line]
    changed = "\n".join(lines).replace("select: validation\n", f"select: [{', '.join(names[:9])}]\n")
    competition.write_text(changed, encoding="utf-8")
    sizes = [len(drawn.examples) for drawn in load_batch(competition).mixes.values()]
    assert sizes == [3164] * 6 + [2531] * 3 + [1836, 7749]
