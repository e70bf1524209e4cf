"""What the code cites can be read: every `Source:` of a module leads to a part of a page in docs."""

import re

import pytest

from tests.conftest import ROOT

CITED = re.compile(r"Source: (.*?)(?:\"\"\"|\n\n|\Z)", re.DOTALL)
MODULES = sorted(path for room in ("service", "protocol", "transports") for path in (ROOT / room).rglob("*.py"))
CITING = [(str(path.relative_to(ROOT)), CITED.findall(path.read_text())) for path in MODULES]
CITING = [(name, cited) for name, cited in CITING if cited]


def parts(page):
    """Return a page's headings and bold leads, without what stands in brackets behind them."""
    found = re.findall(r"(?m)^(?:#+ |- \*\*|\*\*)([^*\n]+)", (ROOT / "docs" / page).read_text())
    return {part.partition(" (")[0].strip(" .") for part in found}


@pytest.mark.parametrize(("name", "cited"), CITING, ids=[name for name, _ in CITING])
def test_what_a_module_cites_is_a_part_of_a_page(name, cited):
    wire, numbers = parts("gemini-web-protocol.md"), {part.split(" ")[0] for part in parts("reliability.md")}
    for text in cited:
        quoted, numbered = re.findall(r'"([^"]+)"', text), re.findall(r"reliability (\d[\w.]*\w)", text)
        assert quoted or numbered, text
        assert set(quoted) <= wire
        assert set(numbered) <= numbers


def test_code_cites_in_no_other_way():
    text = "".join(path.read_text() for path in MODULES)
    assert not re.findall(r"(?<!Source: )reliability \d|design page", text)
    assert len(CITING) > 30
