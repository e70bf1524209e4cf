"""Which transports are asked for a request, and in which order."""

from collections import Counter
from itertools import cycle

import msgspec
import pytest

from protocol.model import Capability, Model, Selection
from transports.routes import Hop, RequestTraits, RouteSettings, RouteTable

TIERS = {"web": frozenset(), "api": frozenset({"free", "paid"})}
PRO = Selection(model=Model(id="gemini-3-pro", family="pro"))
DRAWING = Selection(model=Model(id="gemini-3-pro", family="pro"), capability=Capability.IMAGEN)


def asked(table, *, rng=lambda: 0.0, **traits):
    return [str(hop) for hop in table.hops(RequestTraits(**{"selection": PRO} | traits), rng)]


def route(*to, **conditions):
    return msgspec.convert({"to": list(to)} | conditions, RouteSettings)


def test_without_routes_free_keys_come_first_and_paid_keys_last():
    assert asked(RouteTable((), TIERS)) == ["api:free", "web", "api:paid"]
    assert asked(RouteTable((), {"web": frozenset()})) == ["web"]
    assert RouteTable((), {"web": frozenset()}).trivial
    assert not RouteTable((), TIERS).trivial


@pytest.mark.parametrize(
    ("conditions", "fitting", "others"),
    [
        ({"models": ["gemini-*-imagen"]}, [{"selection": DRAWING}], [{}]),
        ({"licenses": ["team-*"]}, [{"license": "team-a"}], [{"license": "other"}, {}]),
        ({"tools": True}, [{"tools": True}], [{}]),
        ({"tools": False}, [{}], [{"tools": True}]),
        ({"json_schema": True}, [{"json_schema": True}], [{}]),
        ({"images": True}, [{"images": True}], [{"files": True}]),
        ({"files": True, "tools": True}, [{"files": True, "tools": True}], [{"files": True}, {"tools": True}]),
    ],
)
def test_a_route_is_taken_if_all_its_conditions_hold(conditions, fitting, others):
    table = RouteTable((route("api:paid", **conditions), route("web")), TIERS)
    assert [asked(table, **traits) for traits in fitting] == [["api:paid"]] * len(fitting)
    assert [asked(table, **traits) for traits in others] == [["web"]] * len(others)
    assert [table.find(RequestTraits(**{"selection": PRO} | traits))[0] for traits in others] == [1] * len(others)


def test_a_request_that_no_route_fits_takes_the_one_by_default():
    table = RouteTable((route("web", tools=True),), TIERS)
    assert asked(table) == ["api:free", "web", "api:paid"]
    assert table.find(RequestTraits(selection=PRO))[0] is None


def test_weights_share_the_requests_and_every_hop_stays_in_reach():
    table = RouteTable((route({"api:free": 3, "web": 1}, "api:paid"),), TIERS)
    draws = cycle(number / 8 + 0.01 for number in range(8))
    orders = [asked(table, rng=lambda: next(draws)) for _ in range(800)]
    assert {tuple(sorted(order)) for order in orders} == {("api:free", "api:paid", "web")}
    assert {order[-1] for order in orders} == {"api:paid"}
    first = Counter(order[0] for order in orders)
    assert first["api:free"] == 3 * first["web"]


def test_a_draw_at_the_very_end_still_finds_a_hop():
    table = RouteTable((route({"api:free": 0.1, "web": 0.2}),), TIERS)
    assert sorted(asked(table, rng=lambda: 1.0)) == ["api:free", "web"]


def test_a_hop_is_asked_once():
    assert asked(RouteTable((route("web", {"web": 1, "api": 1}, "api"),), TIERS)) == ["web", "api"]
    assert Hop.read("api:free") == Hop("api", "free")


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("other", r"\[0\].to: 'other' is not a transport of these settings: web, api"),
        ("web:free", r"\[0\].to: 'web' has no tier 'free'; it has: none"),
        ("api:gold", r"\[0\].to: 'api' has no tier 'gold'; it has: free, paid"),
    ],
)
def test_a_route_to_nowhere_is_refused(to, message):
    with pytest.raises(ValueError, match=message):
        RouteTable((route(to),), TIERS)
