"""Each `Source:` citation of a module names a section of a page in docs."""

import re
from functools import cache

from tests.architecture.checks import sources
from tests.conftest import ROOT

CITED = re.compile(r"Source: (.*?)(?:\"\"\"|\n\n|\Z)", re.DOTALL)
MODULES = sources()
CITING = [(str(path.relative_to(ROOT)), CITED.findall(path.read_text())) for path in MODULES]
CITING = [(name, cited) for name, cited in CITING if cited]


def parts(page):
    """Return a page's headings and bold leads, without what stands in brackets behind them."""
    found = re.findall(r"(?m)^(?:#+ |- \*\*|\*\*)([^*\n]+)", (ROOT / "docs" / page).read_text())
    return {part.partition(" (")[0].strip(" .") for part in found}


def test_each_citation_of_a_module_names_a_section_of_a_page():
    wire = parts("gemini-web-protocol.md") | parts("gemini-api-protocol.md")
    numbers = {part.split(" ")[0] for part in parts("reliability.md")}
    for name, text in ((name, text) for name, cited in CITING for text in cited):
        quoted, numbered = re.findall(r'"([^"]+)"', text), re.findall(r"reliability (\d[\w.]*\w)", text)
        assert quoted or numbered, (name, text)
        assert set(quoted) <= wire, name
        assert set(numbered) <= numbers, name


def test_citations_have_one_form():
    text = "".join(path.read_text() for path in MODULES)
    assert not re.findall(r"(?<!Source: )reliability \d|design page", text)
    assert len(CITING) > 30


def facts():
    """Return the rows of the wire page's table of facts: part, fact, and what holds it."""
    text = (ROOT / "docs" / "gemini-web-protocol.md").read_text()
    lines = text.partition("\n## Facts and their tests\n")[2].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return rows[1:]


def test_each_fact_of_the_wire_page_names_tests_that_exist_or_says_why_there_is_none():
    page, missing = parts("gemini-web-protocol.md"), []
    for part, fact, held_by in facts():
        assert part in page, fact
        named = re.findall(r"`([^`]+\.py)::(test_\w+)`", held_by)
        assert named or re.match(r"not held by a test: \S", held_by), fact
        missing += [f"{path}::{name}" for path, name in named if name not in names_in(path)]
    assert missing == []


@cache
def names_in(path):
    file = ROOT / "tests" / path
    return set(re.findall(r"(?m)^(?:async )?def (\w+)\(", file.read_text())) if file.exists() else set()


def test_each_part_of_the_wire_page_has_facts_in_the_table():
    without = {"Sources", "Modules", "Facts and their tests"}
    headings = re.findall(r"(?m)^#{2,3} ([^(\n]+)", (ROOT / "docs" / "gemini-web-protocol.md").read_text())
    assert {heading.strip() for heading in headings} - without <= {part for part, _, _ in facts()}
