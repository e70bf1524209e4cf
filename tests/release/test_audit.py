import sys

import pytest

from tests.release.audit import NOTHING, SOMETHING, UNKNOWN, main, verdict

WELL = {"name": "a", "version": "1", "vulns": []}
FLAWED = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
LEFT_OUT = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("report", "status", "words"),
    [
        ([WELL], NOTHING, "1 packages: 0 flaws"),
        ([WELL, FLAWED], SOMETHING, "b 2: PYSEC-1, mended in 3"),
        ([WELL, LEFT_OUT], UNKNOWN, "1 of 2 packages: c"),
        ([FLAWED, LEFT_OUT], SOMETHING, "PYSEC-1"),
        ([], UNKNOWN, "could not be found out"),
        (None, UNKNOWN, "Name or service not known"),
    ],
)
def test_a_skipped_package_is_not_reported_as_safe(report, status, words):
    said = "Traceback:\nName or service not known"
    found, lines = verdict(None if report is None else {"dependencies": report}, said)
    assert found == status
    assert any(words in line for line in lines)


def test_a_scanner_that_reports_nothing_is_an_error(capsys):
    assert main(sys.executable, "requirements.txt") == UNKNOWN
    assert "It could not be found out" in capsys.readouterr().out
