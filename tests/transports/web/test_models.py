import msgspec
import pytest

from protocol.model import Catalogue
from transports.web.decode import AccountStatus, DiscoveredModel
from transports.web.models import choose

CATALOGUE = Catalogue.build()


def status(plan="advanced", *models):
    return AccountStatus(problem=None, plan=plan, models=models)


def model(base, **changes):
    return msgspec.structs.replace(CATALOGUE.resolve(base).model, **changes)


def found(identifier, name, number=None, family=""):
    return DiscoveredModel(id=identifier, name=name, number=number, family=family)


@pytest.mark.parametrize(
    ("base", "plan", "expected"),
    [
        ("gemini-3-pro", "free", ("9d8ca3786ebdfbea", 3, 1)),
        ("gemini-3-pro", "plus", ("e6fa609c3fa255c0", 3, 4)),
        ("gemini-3-pro", "pro", ("e6fa609c3fa255c0", 3, 3)),
        ("gemini-2.5-flash", "advanced", ("56fdd199312815e2", 1, 2)),
        ("gemini-3.5-flash-lite", "free", ("cf41b0e0dd7d53e5", 6, 1)),
    ],
)
def test_without_discovery_the_table_says(base, plan, expected):
    chosen = choose(model(base), "web", status(plan))
    assert (chosen.id, chosen.number, chosen.capacity) == expected


def test_discovery_wins_over_the_table():
    chosen = choose(model("gemini-3-pro"), "web", status("free", found("f1", "3 Flash", 1), found("p1", "3 Pro", 9)))
    assert (chosen.id, chosen.number) == ("p1", 9)


def test_the_same_version_wins_over_the_first_of_the_family():
    models = found("a", "3.1 Pro", 3), found("b", "3 Pro", 4)
    assert choose(model("gemini-3.1-pro"), "web", status("pro", *models)).id == "a"
    lite = found("l", "3.5 Flash-Lite", 6), found("f", "3.5 Flash", 1)
    assert choose(model("gemini-3.5-flash"), "web", status("pro", *lite)).id == "f"
    assert choose(model("gemini-3.5-flash-lite"), "web", status("pro", *lite)).id == "l"


def test_configuration_wins_over_both():
    configured = model("gemini-3-pro", upstream={"web": "mine", "api": "other"})
    assert choose(configured, "web", status("pro", found("p1", "3 Pro", 9))).id == "mine"
