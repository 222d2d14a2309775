"""The checks of packages and of secrets can fail: on a report with findings, on a file with a credential."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.rig import ROOT

REPORT = {
    "dependencies": [
        {"name": "sound", "version": "1.0", "vulns": []},
        {"name": "weak", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1", "3.0"]}]},
        {"name": "hopeless", "version": "3.0", "vulns": [{"id": "CVE-2", "fix_versions": []}]},
        {"name": "stranger", "skip_reason": "Dependency not found on PyPI"},
    ]
}
WEAK = {"dependencies": REPORT["dependencies"][1:2]}


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_findings_are_told_one_a_line(audit: ModuleType) -> None:
    assert audit.findings(REPORT) == ["weak 2.0: CVE-1, fixed in 2.1, 3.0", "hopeless 3.0: CVE-2, fixed in none yet"]
    assert audit.unknown(REPORT) == ["stranger"]


@pytest.mark.parametrize(
    ("probe", "report", "code", "tolerated"),
    [
        (WEAK, REPORT, 1, 1),
        (WEAK, {"dependencies": REPORT["dependencies"][:1]}, 0, 0),
        ({"dependencies": REPORT["dependencies"][3:]}, REPORT, 2, 0),
        ({"dependencies": REPORT["dependencies"][:1]}, REPORT, 2, 0),
        (None, REPORT, 2, 0),
    ],
    ids=["findings", "sound", "a mirror that knows nothing", "a service that knows no vulnerability", "nobody there"],
)
def test_an_audit_that_was_none_is_no_success(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, probe: object, report: object, code: int, tolerated: int
) -> None:
    monkeypatch.setattr(audit, "audit", lambda files: (report if "fleet.txt" in files else probe, "no answer"))
    assert audit.main(["fleet.txt"]) == code
    assert audit.main(["--tolerant", "fleet.txt"]) == tolerated


def scanned(path: Path) -> int:
    return subprocess.run(
        [ROOT / ".ci" / "secrets", path], env=os.environ | {"PYTHON": sys.executable}, capture_output=True
    ).returncode


def test_a_credential_in_a_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    keyword, words = "password", "correct-horse-staple"
    file.write_text(f"{keyword} = '{words}'\n")
    assert scanned(file) == 1
    file.write_text(f"redis = 'redis://nonet:{words}@host'\n")
    assert scanned(file) == 1
    file.write_text("tokens = 'tokens_per_second'\n")
    assert scanned(file) == 0
