"""Explains a route: which transports a request would be asked of, in which order, and with which accounts.

It sends nothing. The states of the accounts are those of the store, so a command sees what running gateways know.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

import msgspec

from protocol.model import Capability, Catalogue, Selection
from service import wiring
from service.accounts.views import AccountStatus, AccountView
from transports.accounts.records import CooldownReason
from transports.routes import Hop, RequestTraits, RouteSettings, RouteTable

UpstreamModelOf = Callable[[str, Selection], str | None]
"""Returns the upstream's model that a transport, by name, is asked for; None: it does not offer the selection."""
HopAccountState = Literal["ready", "cooling_down", "needs_attention", "paused", "unusable", "not_included"]


class RouteQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request as routes see it."""

    model: str
    """Name of a model, as clients write it."""
    license: str = ""
    """Id of the license."""
    tools: bool = False
    """Whether it offers tools."""
    json_schema: bool = False
    """Whether its answer must be JSON."""
    images: bool = False
    """Whether it has pictures."""
    files: bool = False
    """Whether it has other files."""


class HopAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account of a hop, and whether it can serve the request."""

    id: str
    state: HopAccountState
    """`not_included`: the account never has the model, or may not serve the capability."""
    reason: str = ""
    until: float | None = None
    """End of the cooldown, in epoch seconds."""


class HopView(msgspec.Struct, frozen=True, kw_only=True):
    """A place of a route: a transport, or its accounts of one tier."""

    hop: str
    place: int
    """Its place in the order, from 1; hops of the same place share the requests."""
    share: float = 1.0
    """Share of the requests for which it comes first in its place."""
    offered: bool = True
    """Whether the transport has the model and capability; otherwise the hop is skipped."""
    model: str = ""
    """The upstream's model."""
    accounts: tuple[HopAccount, ...] = ()


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    """The route that a request takes."""

    model: str
    """Canonical name of the model."""
    family: str
    capability: str
    route: int | None
    """Number of the route in the settings, from 0; None: the default one."""
    hops: tuple[HopView, ...]
    first: tuple[str, ...] = ()
    """The hop that is asked now, or one of several with weights; empty: no account can serve the request now."""


class RouteExplainer:
    """Explains routes of one gateway."""

    def __init__(self, catalogue: Catalogue, routes: Callable[[], RouteTable], model_of: UpstreamModelOf) -> None:
        """Use these models, and the routes that `routes` returns."""
        self._catalogue, self._routes, self._model_of = catalogue, routes, model_of

    def explain(self, query: RouteQuery, accounts: Sequence[AccountView]) -> RouteView:
        """Return the route for a request.

        Raises:
            ModelUnknown: there is no such model.

        """
        selection = self._catalogue.resolve(query.model)
        traits = RequestTraits(
            selection=selection,
            license=query.license,
            tools=query.tools,
            json_schema=query.json_schema,
            images=query.images,
            files=query.files,
        )
        number, route = self._routes().find(traits)
        hops = tuple(self._hops(route, selection, accounts))
        ready = [hop for hop in hops if any(account.state == "ready" for account in hop.accounts)]
        return RouteView(
            model=selection.id,
            family=selection.model.family,
            capability=selection.capability.value,
            route=number,
            hops=hops,
            first=tuple(hop.hop for hop in ready if hop.place == ready[0].place),
        )

    def _hops(self, route: RouteSettings, selection: Selection, accounts: Sequence[AccountView]) -> list[HopView]:
        found: dict[str, HopView] = {}
        for place, entry in enumerate(route.to, 1):
            weights: Mapping[str, float] = {entry: 1.0} if isinstance(entry, str) else entry
            for text, weight in weights.items():
                if text not in found:  # a later place of the same hop is never reached
                    share = weight / sum(weights.values())
                    found[text] = self._hop(Hop.read(text), place, share, selection, accounts)
        return list(found.values())

    def _hop(
        self, hop: Hop, place: int, share: float, selection: Selection, accounts: Sequence[AccountView]
    ) -> HopView:
        model = self._model_of(hop.transport, selection)
        if model is None:
            return HopView(hop=str(hop), place=place, share=share, offered=False)
        own = [row for row in accounts if row.transport == hop.transport and hop.tier in {"", row.tier}]
        states = tuple(_account(row, model, selection.capability) for row in own)
        return HopView(hop=str(hop), place=place, share=share, model=model, accounts=states)


def unserved_hops(routes: Sequence[RouteSettings], serving: Collection[tuple[str, str]]) -> list[tuple[str, Hop]]:
    """Return the hops of routes without accounts, each with its place in the settings.

    `serving` has the transport and the tier of each usable account.
    """
    return [
        (f"routes[{number}].to", hop)
        for number, route in enumerate(routes)
        for hop in dict.fromkeys(route.hops())
        if not any(name == hop.transport and hop.tier in {"", tier} for name, tier in serving)
    ]


def _account(row: AccountView, model: str, capability: Capability) -> HopAccount:
    cooldowns = [cooldown for cooldown in row.cooldowns if cooldown.covers(model, capability)]
    if row.capabilities and capability.value not in row.capabilities:
        return HopAccount(id=row.id, state="not_included", reason="capability")
    lacks = wiring.TRANSPORTS[row.transport].tier_lacks(row.tier, model)
    if lacks or any(cooldown.reason is CooldownReason.NEVER for cooldown in cooldowns):
        return HopAccount(id=row.id, state="not_included", reason="model")
    if row.state in {AccountStatus.PAUSED, AccountStatus.NEEDS_ATTENTION, AccountStatus.UNUSABLE}:
        return HopAccount(id=row.id, state=row.state.value, reason=row.reason)
    if cooldowns:
        last = max(cooldowns, key=lambda cooldown: cooldown.until)
        return HopAccount(id=row.id, state="cooling_down", reason=last.reason.value, until=last.until)
    return HopAccount(id=row.id, state="ready")
