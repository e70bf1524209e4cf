"""Every alert leads to a page, every page is of an alert, and what the pages lead to is there."""

import re

from service.cli.main import cli
from tests.conftest import ROOT
from tests.deploy.watching import RUNBOOKS, rules

INDEX = ROOT / "docs" / "runbooks" / "README.md"


def test_alerts_and_pages_belong_together():
    led = {rule["annotations"]["runbook_url"] for rule in rules("alert").values()}
    assert led == {str(path.relative_to(ROOT)) for path in RUNBOOKS}
    for rule in rules("alert").values():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_the_index_names_each_page_by_its_title():
    listed = dict(re.findall(r"\[([^\]]+)\]\(([^)]+)\)", INDEX.read_text()))
    titles = {path.read_text().splitlines()[0].removeprefix("# "): path.name for path in RUNBOOKS}
    assert listed == titles


def test_each_page_has_impact_diagnosis_and_fix_and_working_links():
    for path in RUNBOOKS:
        text = path.read_text()
        assert "**Impact**" in text
        assert re.findall(r"(?m)^## (.*)", text) == ["Diagnose", "Fix"]
        for target in re.findall(r"\]\(([^)#]+)", text):
            assert (path.parent / target).exists(), target


def test_commands_that_pages_name_exist():
    for path in RUNBOOKS:
        for words in re.findall(r"`gemini-gateway ([^`]+)`", path.read_text()):
            command = cli
            for word in words.split():
                if word.startswith("-") or not hasattr(command, "commands"):
                    break
                command = command.commands[word]
