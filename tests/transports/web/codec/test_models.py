import msgspec
import pytest

from protocol.model import Catalogue, Family, UpstreamModel
from transports.web.codec.decode import AccountStatus, DiscoveredModel
from transports.web.codec.models import answered, asked, choose, family_of

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


@pytest.mark.parametrize("base", ["gemini-2.5-flash", "gemini-3.5-flash", "gemini-3.6-flash"])
def test_a_family_is_matched_whatever_the_versions_in_names_are(base):
    models = found("l", "3.6 Flash-Lite"), found("p", "3.6 Pro"), found("f", "3.9 Flash")
    assert choose(model(base), "web", status("pro", *models)).id == "f"


def test_of_several_models_of_a_family_the_default_wins_and_else_the_first():
    first, second = found("a", "3.5 Flash"), found("b", "3.6 Flash")
    asked = model("gemini-3.6-flash")
    assert choose(asked, "web", status("pro", first, second)).id == "a"
    assert choose(asked, "web", status("pro", first, msgspec.structs.replace(second, default=True))).id == "b"


def test_an_id_of_the_table_tells_the_family_before_any_word():
    renamed = found("e6fa609c3fa255c0", "Flash of genius", family="Flash")
    assert family_of(renamed) is Family.PRO
    assert family_of(found("797f3d0293f288ad", "3.9")) is Family.FLASH
    assert family_of(found("a74ec8485b3b5ce4", "Auto")) is None


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("3.7 Flash", Family.FLASH),
        ("3.6 Flash Extended", Family.FLASH),
        ("Fast", Family.FLASH),
        ("3.5 Flash-Lite", Family.FLASH_LITE),
        ("Gemini 3.1 Pro (Preview)", Family.PRO),
        ("3.6 Thinking", Family.FLASH_THINKING),
        ("3.6 Flash Thinking", Family.FLASH_THINKING),
        ("Nano Banana Pro", None),
        ("Processing", None),
        ("", None),
    ],
)
def test_words_tell_the_family_of_an_unknown_id(name, family):
    assert family_of(found("new", name)) is family
    assert family_of(found("new", "x", family=name)) is family


def test_a_number_tells_no_family():
    assert family_of(found("new", "Novum", number=3)) is None


def test_the_answering_model_is_described_by_id_and_name():
    told = answered("56fdd199312815e2", "3.7 Flash", status())
    assert (told.id, told.name, told.family) == ("56fdd199312815e2", "3.7 Flash", Family.FLASH)
    assert answered("", "", status()) is None
    assert answered("new", "", status("pro", found("new", "4 Pro"))) == UpstreamModel(
        id="new", name="4 Pro", family=Family.PRO
    )
    assert answered("new", "4 Flash", status()).family is Family.FLASH


@pytest.mark.parametrize("name", ["Nano Banana 2", "Nano Banana Pro", "Imagen 5 Ultra", "Veo 4"])
def test_a_picture_model_is_of_no_family_whatever_id_stands_beside_it(name):
    told = answered("56fdd199312815e2", name, status())
    assert (told.label, told.family) == (name, None)


def test_what_is_asked_for_is_described_as_the_site_calls_it():
    offered = status("pro", found("p1", "3.1 Pro"))
    asking = model("gemini-3-pro")
    assert asked(asking, choose(asking, "web", offered), offered) == UpstreamModel(
        id="p1", name="3.1 Pro", family=Family.PRO
    )
    assert asked(asking, None, status()) == UpstreamModel(family=Family.PRO)
    auto = model("gemini-3-pro", upstream={"web": "a74ec8485b3b5ce4"})
    assert asked(auto, choose(auto, "web", offered), offered).family is None


def test_configuration_wins_over_both():
    configured = model("gemini-3-pro", upstream={"web": "mine", "api": "other"})
    assert choose(configured, "web", status("pro", found("p1", "3 Pro", 9))).id == "mine"


def test_a_configured_model_has_the_number_that_the_site_lists_it_with():
    configured = model("gemini-3-pro", upstream={"web": "mine"})
    assert choose(configured, "web", status("pro", found("mine", "3 Pro", 7))).number == 7
