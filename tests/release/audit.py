"""Asks whether something is known against a package of the lock.

Ends with 0 where nothing is, with 1 where something is, and with 3 where that could not be found out.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

NOTHING, SOMETHING, UNKNOWN = 0, 1, 3
SERVICES = ("pypi", "osv")
_WAIT_SECONDS = "15"


def verdict(report, said):
    """Return the exit status and the lines to print for a report of pip-audit; None is a missing report."""
    if report is None:
        return UNKNOWN, ["It could not be found out:", *said.strip().splitlines()[-1:]]
    packages = report["dependencies"]
    known = [(one, flaw) for one in packages for flaw in one.get("vulns", ())]
    left_out = [one["name"] for one in packages if "skip_reason" in one]
    lines = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one, flaw in known
    ]
    if left_out or not packages:
        which = f": {', '.join(left_out)}" if len(left_out) < len(packages) else ""
        lines.append(f"It could not be found out for {len(left_out)} of {len(packages)} packages{which}")
    else:
        lines.append(f"{len(packages)} packages: {len(known)} flaws are known.")
    if known:
        return SOMETHING, lines
    return (UNKNOWN if left_out or not packages else NOTHING), lines


def ask(program, lock, service):
    """Run pip-audit; return its report, or None, and its other output."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.json"
        command = [
            program,
            "--disable-pip",
            "--require-hashes",
            "--progress-spinner",
            "off",
            "--timeout",
            _WAIT_SECONDS,
        ]
        command += ["--vulnerability-service", service, "--requirement", lock, "--format", "json", "--output", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        try:
            return json.loads(out.read_text()), done.stderr
        except (OSError, ValueError):
            return None, done.stderr


def main(program, lock):
    status = UNKNOWN
    for service in SERVICES:
        status, lines = verdict(*ask(program, lock, service))
        print(f"{service}: " + "\n  ".join(lines))
        if status != UNKNOWN:
            break
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
