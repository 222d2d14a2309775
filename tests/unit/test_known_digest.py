"""Digests from notes: the same as reading, never stale, never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nonet.bases import known_digest as module
from nonet.bases.known_digest import known_digest, notes_file
from nonet.stores.key import file_digest


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "SMALL", 4)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"first content")
    return path


def test_second_time_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = known_digest(file)
    assert found == file_digest(file)
    read: list[Path] = []
    monkeypatch.setattr(module, "file_digest", read.append)
    assert known_digest(file) == found
    assert not read


@pytest.mark.parametrize("keep_time", [False, True])
def test_any_rewrite_is_noticed(file: Path, keep_time: bool) -> None:
    known_digest(file)
    before = file.stat()
    file.write_bytes(b"other content")  # of the same length
    if keep_time:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known_digest(file) == file_digest(file)


def test_damaged_notes_and_a_home_that_cannot_be_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known_digest(file)
    for damage in (b"{", b"[]", b'{"x": 1}'):
        notes_file().write_bytes(damage)
        assert known_digest(file) == file_digest(file)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    assert known_digest(file) == file_digest(file)


def test_small_files_leave_no_notes_and_notes_do_not_grow(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "small").write_bytes(b"abc")
    known_digest(file.parent / "small")
    assert not notes_file().exists()
    monkeypatch.setattr(module, "MOST", 3)
    for index in range(5):
        path = file.with_name(f"w{index}")
        path.write_bytes(b"content %d" % index)
        known_digest(path)
    assert list(module._notes()) == [str(file.with_name(f"w{index}").resolve()) for index in (2, 3, 4)]
