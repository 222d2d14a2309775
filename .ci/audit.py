"""Known vulnerabilities of the pinned packages, by pip-audit, with an honest answer where nobody could be asked.

`audit.py FILE…` fails (1) on findings, and (2) where the service does not answer or does not know the packages;
`audit.py --tolerant FILE…` says the latter in a sentence and passes. pip-audit alone would pass in silence there: a
mirror that answers 404 for every package makes it report "no known vulnerabilities".
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

PROBE = "requests==2.19.0"
"""A release with known vulnerabilities: whoever does not say so of it cannot be asked about others."""
_ASK = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]


def audit(files: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """pip-audit's report on requirement files and "", or None and why there is none."""
    asked = [argument for file in files for argument in ("--requirement", file)]
    done = subprocess.run([*_ASK, "--timeout=10", *asked], capture_output=True, text=True, check=False)
    try:
        report: dict[str, Any] = json.loads(done.stdout)
        return report, ""
    except ValueError:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return None, lines[-1].strip() if lines else f"pip-audit ended with {done.returncode}"


def unknown(report: dict[str, Any]) -> list[str]:
    """Packages that the service knows nothing of."""
    return [found["name"] for found in report["dependencies"] if "skip_reason" in found]


def findings(report: dict[str, Any]) -> list[str]:
    """A line for each known vulnerability."""
    return [
        f"{found['name']} {found['version']}: {known['id']}, fixed in {', '.join(known['fix_versions']) or 'none yet'}"
        for found in report["dependencies"]
        for known in found.get("vulns", ())
    ]


def away(probe: str) -> str | None:
    """Why the service cannot be asked; None when it knows what it must know."""
    report, why = audit([probe])
    if report is None:
        return why
    if unknown(report):
        return "it knows none of the packages (a mirror?)"
    return None if findings(report) else f"it knows of no vulnerability in {PROBE}"


def main(arguments: Sequence[str]) -> int:
    tolerant = "--tolerant" in arguments
    files = [argument for argument in arguments if not argument.startswith("--")]
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile("w", suffix=".txt") as probe:
        probe.write(PROBE + "\n")
        probe.flush()
        why = away(probe.name)
    report = None
    if why is None:
        report, why = audit(files)
    if report is None:
        print(f"not audited: the vulnerability service cannot be asked: {why}", file=sys.stderr)
        return 0 if tolerant else 2
    found = findings(report)
    print("\n".join(found) or f"no known vulnerability in {len(report['dependencies'])} packages")
    if unknown(report):
        print(f"not known to the service, so not audited: {', '.join(unknown(report))}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
