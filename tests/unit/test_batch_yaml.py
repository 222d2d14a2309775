"""YAML's own traps: each is told as a defect, none raises anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.batch import load_batch
from nonet.questions.defect import DefectsError


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "line 1, the file", "the file holds no keys"),
        ("- a\n", "line 1, the file", "the file holds no keys"),
        ("name：small\n", "line 1, the file", "the file holds no keys"),
        ("name: small\n\tbase: x\n", "line 2, the file", "not YAML"),
        ("name: [\n", "line 2, the file", "not YAML"),
        ("name: a\nbase：b\nsources: c\n", "line 3, the file", "not YAML"),
        ("name: a\n---\nname: b\n", "line 2, the file", "not YAML"),
        ("name: *x\n", "line 1, the file", "not YAML"),
        ("name: \x07\n", "line 1, the file", "not YAML"),
    ],
)
def test_a_file_that_is_no_batch_is_told(tmp_path: Path, text: str, place: str, message: str) -> None:
    path = tmp_path / "batch.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DefectsError) as caught:
        load_batch(path)
    assert [defect.place for defect in caught.value.defects] == [place]
    assert message in caught.value.defects[0].message


def test_a_missing_and_a_foreign_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(DefectsError, match="cannot be read: No such file or directory"):
        load_batch(tmp_path / "none.yaml")
    (tmp_path / "gbk.yaml").write_bytes("name: a\nx: 题".encode("gb18030"))
    with pytest.raises(DefectsError, match="line 2, the file: not UTF-8"):
        load_batch(tmp_path / "gbk.yaml")


def test_aliases_cannot_unfold_without_end(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]" for at in range(1, 9)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(DefectsError, match="unfolds without end"):
        load_batch(tmp_path / "bomb.yaml")
    (tmp_path / "loop.yaml").write_text("name: &a [*a]\n")
    with pytest.raises(DefectsError, match="unfolds without end"):
        load_batch(tmp_path / "loop.yaml")
