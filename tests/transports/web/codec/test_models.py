import msgspec
import pytest

from protocol.model import (
    Catalogue,
    UpstreamModel,
)
from tests.transports.web.codec.test_answer import CAPTURES, MAX_FRAME
from transports.simulator import encode
from transports.web.codec.batch import decode_batch
from transports.web.codec.models import (
    DiscoveredModel,
    SiteStatus,
    answered,
    asked,
    choose,
    decode_status,
    family_of,
)

CATALOGUE = Catalogue.build()


def status(plan="advanced", *models):
    return SiteStatus(problem=None, plan=plan, models=models)


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
def test_without_discovery_the_table_is_used(base, plan, expected):
    chosen = choose(model(base), "web", status(plan))
    assert (chosen.id, chosen.number, chosen.capacity) == expected


def test_discovery_wins_over_the_table():
    chosen = choose(model("gemini-3-pro"), "web", status("free", found("f1", "3 Flash", 1), found("p1", "3 Pro", 9)))
    assert (chosen.id, chosen.number) == ("p1", 9)


@pytest.mark.parametrize("base", ["gemini-2.5-flash", "gemini-3.5-flash", "gemini-3.6-flash"])
def test_a_family_is_matched_for_any_version_in_a_name(base):
    models = found("l", "3.6 Flash-Lite"), found("p", "3.6 Pro"), found("f", "3.9 Flash")
    assert choose(model(base), "web", status("pro", *models)).id == "f"


def test_a_familys_default_model_is_chosen_or_else_its_first():
    first, second = found("a", "3.5 Flash"), found("b", "3.6 Flash")
    asked = model("gemini-3.6-flash")
    assert choose(asked, "web", status("pro", first, second)).id == "a"
    assert choose(asked, "web", status("pro", first, msgspec.structs.replace(second, default=True))).id == "b"


def test_a_known_id_determines_the_family_before_the_name():
    renamed = found("e6fa609c3fa255c0", "Flash of genius", family="Flash")
    assert family_of(renamed) == "pro"
    assert family_of(found("797f3d0293f288ad", "3.9")) == "flash"
    assert family_of(found("a74ec8485b3b5ce4", "Auto")) == ""


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("3.7 Flash", "flash"),
        ("3.6 Flash Extended", "flash"),
        ("Fast", "flash"),
        ("3.5 Flash-Lite", "flash-lite"),
        ("Gemini 3.1 Pro (Preview)", "pro"),
        ("3.6 Thinking", "flash-thinking"),
        ("3.6 Flash Thinking", "flash-thinking"),
        ("Nano Banana Pro", ""),
        ("Processing", ""),
        ("", ""),
    ],
)
def test_the_family_of_an_unknown_id_is_read_from_its_name(name, family):
    assert family_of(found("new", name)) == family
    assert family_of(found("new", "x", family=name)) == family


def test_a_number_alone_determines_no_family():
    assert family_of(found("new", "Novum", number=3)) == ""


def test_the_answering_model_is_described_by_id_and_name():
    upstream_model = answered("56fdd199312815e2", "3.7 Flash", status())
    assert (upstream_model.id, upstream_model.name, upstream_model.family) == ("56fdd199312815e2", "3.7 Flash", "flash")
    assert answered("", "", status()) is None
    assert answered("new", "", status("pro", found("new", "4 Pro"))) == UpstreamModel(
        id="new", name="4 Pro", family="pro"
    )
    assert answered("new", "4 Flash", status()).family == "flash"


@pytest.mark.parametrize("name", ["Nano Banana 2", "Nano Banana Pro", "Imagen 5 Ultra", "Veo 4"])
def test_a_picture_model_has_no_family_with_any_id(name):
    upstream_model = answered("56fdd199312815e2", name, status())
    assert (upstream_model.label, upstream_model.family) == (name, "")


def test_the_requested_model_is_described_by_the_sites_name():
    offered = status("pro", found("p1", "3.1 Pro"))
    asking = model("gemini-3-pro")
    assert asked(asking, choose(asking, "web", offered), offered) == UpstreamModel(
        id="p1", name="3.1 Pro", family="pro"
    )
    assert asked(asking, None, status()) == UpstreamModel(family="pro")
    auto = model("gemini-3-pro", upstream={"web": "a74ec8485b3b5ce4"})
    assert asked(auto, choose(auto, "web", offered), offered).family == ""


def test_settings_override_discovery_and_table():
    configured = model("gemini-3-pro", upstream={"web": "mine", "api": "other"})
    assert choose(configured, "web", status("pro", found("p1", "3 Pro", 9))).id == "mine"


def test_a_configured_model_has_the_number_listed_by_the_site():
    configured = model("gemini-3-pro", upstream={"web": "mine"})
    assert choose(configured, "web", status("pro", found("mine", "3 Pro", 7))).number == 7


@pytest.mark.parametrize(
    ("tiers", "flags", "plan"),
    [
        ([], [115], "plus"),
        ([16], [], "pro"),
        ([], [106], "pro"),
        ([8], [], "advanced"),
        ([], [19], "advanced"),
        ([], [], "free"),
    ],
)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_plan_is_read_from_the_flags(tiers, flags, plan, sparse):
    payload = encode.layout({14: 1000, 15: [["id1", "flash"]], 16: tiers, 17: flags}, sparse=sparse)
    status = decode_status(payload, None)
    assert status.plan == plan
    assert [(model.id, model.family) for model in status.models] == [("id1", "flash")]


@pytest.mark.parametrize(
    ("tier", "ids", "tiers", "flags", "plan", "capacity"),
    [
        (None, [], [3, 0, 4, 5, 14, 38], [2, 3], "free", 1),
        (None, ["fbb127bbb056c959"], [3, 0, 4, 5, 14, 38], [2, 3], "free", 1),
        (None, ["fbb127bbb056c959", "e6fa609c3fa255c0"], [3, 0, 4, 5, 14, 38], [2, 3], "advanced", 2),
        (None, ["e6fa609c3fa255c0"], [], [115], "plus", 4),
        ("pro", ["e6fa609c3fa255c0"], [3, 0, 4, 5, 14, 38], [2, 3], "pro", 3),
        ("ultra", ["e6fa609c3fa255c0"], [8], [19], "ultra", 2),
        ("ultra", [], [], [], "ultra", 2),
        ("pro", [], [8], [], "pro", 2),
        ("free", ["fbb127bbb056c959"], [8], [], "free", 1),
        ("plus", [], [], [], "plus", 4),
    ],
)
def test_the_plan_comes_from_the_usage_call_then_the_models_then_the_flags(tier, ids, tiers, flags, plan, capacity):
    payload = encode.layout({15: [[identifier] for identifier in ids], 16: tiers, 17: flags}, sparse=False)
    status = decode_status(payload, None, tier)
    assert (status.plan, status.capacity, status.field13) == (plan, capacity, False)


@pytest.mark.parametrize(("flag", "capacity"), [(21, 1), (22, 2)])
def test_flags_move_the_capacity_to_the_next_field(flag, capacity):
    status = decode_status(encode.layout({16: [8, flag], 17: [19]}, sparse=False), None, "pro")
    assert (status.capacity, status.field13) == (capacity, True)


def test_a_models_number_is_not_its_quotas_number():
    body = (CAPTURES / "batch-otAQ7b-2026-08-24.txt").read_bytes()
    status = decode_status(decode_batch(body, MAX_FRAME).get("otAQ7b"), None)
    assert [(model.id[:4], model.family, model.name, model.number) for model in status.models] == [
        ("8c46", "Flash-Lite", "3.5 Flash-Lite", 6),
        ("56fd", "Flash", "3.7 Flash", 1),
        ("e6fa", "Pro", "3.1 Pro", 3),
    ]
    assert status.plan == "advanced"
    entry = ["id", "Flash", "", [], 2, None, [], True, "", 20]
    assert decode_status(encode.layout({15: [entry]}, sparse=False), None).models[0].number is None


def test_the_sites_default_model_is_read():
    answer = (CAPTURES / "batch-otAQ7b-2026-08-24.txt").read_bytes()
    models = decode_status(decode_batch(answer, MAX_FRAME).get("otAQ7b"), None).models
    assert [(model.name, model.default) for model in models] == [
        ("3.5 Flash-Lite", False),
        ("3.7 Flash", True),
        ("3.1 Pro", False),
    ]
